"""An independent model of the decision, written from the design alone and never from the engine.

`law` holds the decrees, `registry` the rows and parameters, `validate` the rules of a request,
`draw` the random draw, `evaluate` the decision, `digest` the registry's digest. A request is a plain dict with the field names of
`DecideRequest`: enums are their numbers, a party is {"role": number, "id": (kind, text) or None},
an instant is (seconds, nanos) or None. A decision is a plain dict with the field names of
`Decision`: enums are their short names, instants are nanoseconds since 1970.
"""
