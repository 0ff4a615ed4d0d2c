// What the words of the trade mean, for whoever reads them at three in the morning.

export const TIERS = ['ADVANCED_CERTIFIED', 'CERTIFIED', 'REGULAR', 'DISCREDITED', 'SERIOUSLY_DISCREDITED'];

/** Lanes from free to held: a sign beside each, because colour alone must not tell. */
export const LANES = {
  GREEN: { sign: '●', dash: '', means: 'Released: eligible for the green channel and not selected.' },
  BLUE: { sign: '◆', dash: '7 3', means: 'Released now, audited later.' },
  YELLOW: { sign: '▲', dash: '2 3', means: 'Documents are reviewed before release.' },
  RED: { sign: '■', dash: '12 3', means: 'Selected: the goods are inspected before release.' },
  MANUAL: { sign: '✚', dash: '9 3 2 3', means: 'An officer decides: nothing is released by itself.' },
};

/** Why a fresh snapshot was taken. */
export const RESYNCS = {
  first: ['First snapshot', 'Nothing was in memory before. Usual at a start.'],
  epoch: ['Another store', 'The store has another identity: it was made anew, restored, or another one was put in its place.'],
  fork: ['Another history', "The store's log is not the one that was followed: a backup was restored. Find out what it lost."],
  gap: ['Log too short', 'The change log no longer reaches back to where this replica stood, or has a hole. Changes were not missed.'],
  bulk: ['Many changes at once', 'A large import was taken as a snapshot, because that disturbs requests less. Usual.'],
  mismatch: ['Digests differed', 'Replica and store disagreed about the same version. Should never happen: keep the logs.'],
  refused: ['Looked again after a refusal', 'What the store held had been refused; it was read again to see whether it is in order.'],
};

/** Why something was refused; the last good data stayed in force. */
export const REFUSALS = {
  drift: ['Too much moved at once', 'A tier would have changed by more than the guard allows. If that is right, restart one replica with --accept-drift.'],
  torn: ['Snapshot file damaged', "The file of an earlier life could not be used. The store's own data is read instead."],
  older: ['Older data offered', 'The store offered a position before the one in force: a backup may have been restored.'],
  foreign: ["Another store's snapshot file", 'The file belongs to another store or another history, or to another release.'],
};

/** States: the word, what it means, what to do. */
export const STATES = {
  live: { sign: '●', word: 'LIVE' },
  stale: {
    sign: '◐', word: 'STALE',
    means: 'Relief is withheld: certified enterprises stand as REGULAR, nobody is recognised, nothing takes the green channel. What is strict stays strict. Decisions are still given.',
    act: ['See whether the store can be reached from this replica, and whether the relay runs.', 'Nothing need be restarted: the page turns back when the store has confirmed the data.'],
  },
  expired: {
    sign: '✖', word: 'EXPIRED',
    means: 'Every declaration goes to MANUAL: an officer decides each one, and nothing is released by itself. This replica reports that it is not ready; it still answers.',
    act: ['Bring the store back, or the way to it: that alone ends this.', 'Tell the customs offices that officers decide until then.', 'Do not restart for it: a fresh process has no younger data.'],
  },
  loading: {
    sign: '◌', word: 'LOADING',
    means: 'No data is in force yet: decisions are answered UNAVAILABLE, and clients try elsewhere.',
    act: ['Wait while the first snapshot is read.', 'If it lasts: see below what the store says, and whether it has any enterprise at all.'],
  },
  draining: {
    sign: '▽', word: 'DRAINING',
    means: 'This replica was told to stop. It still answers, and tells its clients to go elsewhere.', act: [],
  },
  unreachable: {
    sign: '⊘', word: 'NO CONTACT',
    means: 'This page gets no answer from the replica. What stands below is old. Whether decisions are given is not known from here.',
    act: ['See whether the process runs and its HTTP port can be reached.', 'Clearance systems talk to the gRPC port: ask another replica, or greenlane status.'],
  },
};

export const ROLES = {
  PARTY_ROLE_CONSIGNEE: 'Consignee', PARTY_ROLE_CONSIGNOR: 'Consignor', PARTY_ROLE_DECLARANT: 'Declarant',
  PARTY_ROLE_PRODUCER: 'Producer', PARTY_ROLE_END_USER: 'End user', PARTY_ROLE_FOREIGN_PARTY: 'Foreign party',
};
export const DIRECTIONS = { DIRECTION_IMPORT: 'Import', DIRECTION_EXPORT: 'Export', DIRECTION_TRANSIT: 'Transit' };
export const TRANSPORT = {
  '': 'not sent', TRANSPORT_MODE_SEA: 'Sea', TRANSPORT_MODE_AIR: 'Air', TRANSPORT_MODE_RAIL: 'Rail', TRANSPORT_MODE_ROAD: 'Road',
  TRANSPORT_MODE_MAIL: 'Mail', TRANSPORT_MODE_OTHER: 'Other',
};
export const TRADE = {
  '': 'not sent', TRADE_MODE_GENERAL: 'General', TRADE_MODE_PROCESSING: 'Processing', TRADE_MODE_E_COMMERCE: 'E-commerce', TRADE_MODE_OTHER: 'Other',
};
export const IDENTIFIERS = { customsCode: 'Customs code', socialCreditCode: 'Social credit code', aeoCode: 'AEO code' };

/** Measures that restrict; every other one is a relief. */
export const RESTRICTIONS = new Set([
  'HEIGHTENED_INSPECTION', 'INTENSIFIED_DOCUMENT_REVIEW', 'FULL_GUARANTEE_PROCESSING_TRADE', 'INCREASED_AUDIT_FREQUENCY',
  'NO_CONSOLIDATED_TAXATION', 'NO_SAMPLE_AND_IMAGE_RELEASE', 'INSPECTION_COST_NOT_WAIVED', 'JOINT_PUNISHMENT',
]);
