//! Which fields of a message break which rules.

/// Fields that break a rule: paths within the request, each with the rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations(pub Vec<(String, String)>);

impl Violations {
    /// Notes that a field breaks a rule.
    pub fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push((field.into(), rule.into()));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One violation.
    pub fn of(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self(vec![(field.into(), rule.into())])
    }

    /// The same paths under a prefix.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self(
            self.0
                .into_iter()
                .map(|(field, rule)| (format!("{prefix}{field}"), rule))
                .collect(),
        )
    }

    /// The sentence that goes with them.
    pub fn message(&self) -> String {
        match self.0.as_slice() {
            [(field, rule)] => format!("{field}: {rule}"),
            many => format!(
                "{} fields break a rule; the first: {}: {}",
                many.len(),
                many[0].0,
                many[0].1
            ),
        }
    }
}

/// The field at which decoding failed, from prost's trail `Message.field: Message.field: what`.
pub fn undecodable_field(error: &prost::DecodeError) -> Violations {
    let text = error.to_string();
    let mut rest = text
        .strip_prefix("failed to decode Protobuf message: ")
        .unwrap_or(&text);
    let mut path = Vec::new();
    while let Some((step, after)) = rest.split_once(": ") {
        match step.split_once('.') {
            Some((message, field)) if message.starts_with(|first: char| first.is_ascii_uppercase()) => {
                path.push(field);
            }
            _ => break,
        }
        rest = after;
    }
    // prost tells the innermost field first.
    path.reverse();
    let field = if path.is_empty() {
        "request".to_owned()
    } else {
        path.join(".")
    };
    Violations::of(field, format!("is no valid protobuf: {rest}"))
}
