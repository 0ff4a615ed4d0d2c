//! What shipments say, at the moment they are asked.

use std::sync::Arc;

use super::{
    evaluation::{Evaluated, container_tie, evaluate},
    held::{Held, Inner},
    index::Pins,
    memory::Shipments,
    saving::Lookup,
    shipment::Shipment,
    view::{Key, Unreachable, View},
};
use crate::{
    domain::{Freshness, identifier::DeclarationNumber},
    facilitation::Moment,
};

impl Shipments {
    /// The state of each key, in their order; `None` for what was never decided.
    pub async fn get(&self, keys: &[Key]) -> Vec<Result<Option<View>, Unreachable>> {
        let loaded = self.load(keys).await;
        let now = Moment::now();
        let view = |key: &Key| {
            // What the store could not be asked for may be more than what memory holds.
            if let Err(unreachable) = loaded
                && !self.is_known(key)
            {
                return Err(unreachable);
            }
            Ok(self.view_of(key, &self.pinned(key), &now))
        };
        keys.iter().map(view).collect()
    }

    /// Asks the store for those keys that memory cannot answer.
    pub(super) async fn load(&self, keys: &[Key]) -> Result<(), Unreachable> {
        self.take_in();
        let missing: Vec<_> = keys.iter().filter(|key| !self.is_known(key)).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(asked) = &self.asked {
            // From here on what is decided is taken in; what was decided before is in the log.
            for key in &missing {
                asked.add(key);
            }
        }
        let (reply, replied) = tokio::sync::oneshot::channel();
        let lookup = Lookup {
            keys: missing,
            reply: Some(reply),
        };
        self.lookups.send(lookup).await.map_err(|_| Unreachable)?;
        replied.await.map_err(|_| Unreachable)?
    }

    /// Notes that the store was asked for these keys, and that what it holds was taken in.
    pub(super) fn note_asked(&self, keys: &[Key]) {
        let _taking = self.taking();
        for key in keys {
            match key {
                Key::Declaration(number) if self.held(number).is_none() => self.undecided.insert(*key, ()),
                Key::Declaration(_) => {}
                Key::Container(_) => self.by_container.insert(*key, self.pinned(key)),
            }
        }
    }

    /// Has the log asked for what was decided unseen, though nobody waits for it: some may be told of it.
    pub(super) fn look_up_unseen(&self) {
        let Some(asked) = &self.asked else { return };
        let keys = asked.all_unseen();
        if !keys.is_empty() {
            // Where too much is asked already, the next time.
            let _asked_again = self.lookups.try_send(Lookup { keys, reply: None });
        }
    }

    /// Forgets what is of no use any more to be compared with what is decided.
    pub(super) fn renew_asked(&self) {
        let Some(asked) = &self.asked else { return };
        asked.renew(|living| {
            for held in self.index.everything() {
                living(&Key::Declaration(held.number));
            }
            self.by_container.iter().for_each(|(key, _)| living(&key));
            self.undecided.iter().for_each(|(key, ())| living(&key));
            self.publisher().each_key(living);
        });
    }

    /// Nothing tells of new shipments of a container for now: the store is asked each time.
    pub(super) fn forget_containers(&self) {
        self.by_container.invalidate_all();
    }

    /// Whether memory knows all that there is to know.
    fn is_known(&self, key: &Key) -> bool {
        if self.asked.as_ref().is_some_and(|asked| asked.is_unseen(key)) {
            return false;
        }
        match key {
            Key::Declaration(number) => self.held(number).is_some() || self.undecided.contains_key(key),
            Key::Container(_) => self.by_container.contains_key(key),
        }
    }

    /// The shipment of a declaration, if it is in memory.
    pub(super) fn held(&self, number: &DeclarationNumber) -> Option<Arc<Held>> {
        // What the cache has forgotten may still be watched, or wait to be saved.
        self.by_declaration.get(number).or_else(|| self.index.of(number))
    }

    /// What memory holds under a key, and of a container also what was on it.
    pub(super) fn pinned(&self, key: &Key) -> Pins {
        match key {
            Key::Declaration(number) => self.held(number).into_iter().collect(),
            Key::Container(container) => self.index.tied(container_tie(container.as_str())),
        }
    }

    /// What those shipments say of a key.
    pub(super) fn view_of(&self, key: &Key, held: &[Arc<Held>], now: &Moment) -> Option<View> {
        let freshness = self.freshness(now);
        let is_behind = self.is_behind();
        let views = held.iter().filter_map(|held| {
            let mut inner = held.inner();
            if is_behind {
                self.refresh(held, &mut inner, now);
            }
            let shipment = &inner.shipment;
            if let Key::Container(container) = key
                && !shipment.decided.containers.contains(container)
            {
                return None;
            }
            let over = (freshness != Freshness::Fresh)
                .then(|| self.evaluate(shipment, freshness, now))
                .flatten();
            let over = over.map(|evaluated| evaluated.outlook);
            Some(View::of(shipment, over.as_ref(), now.timestamp))
        });
        View::governing(views, now.timestamp)
    }

    /// What the age of the registry's data means now.
    pub(super) fn freshness(&self, now: &Moment) -> Freshness {
        let age = self.feed.clock.age(now.monotonic, now.wall);
        self.facilitation.freshness(age)
    }

    /// What a shipment comes to on data that is that fresh. `None` without a registry or a policy: what was said stands.
    pub(super) fn evaluate(
        &self,
        shipment: &Shipment,
        freshness: Freshness,
        now: &Moment,
    ) -> Option<Evaluated> {
        let evaluated = evaluate(&self.facilitation, &shipment.decided, freshness, now.timestamp);
        evaluated.ok().flatten()
    }

    /// Evaluates a shipment on what the registry holds now; gives whether that changes it.
    pub(super) fn refresh(&self, held: &Arc<Held>, inner: &mut Inner, now: &Moment) -> bool {
        let granted = inner.shipment.state.grants();
        let changes = self.follow(held, inner, now);
        if changes {
            let revoked = granted && !inner.shipment.state.grants();
            self.metrics.shipments.evaluated(revoked);
            self.changed(held, inner, &[], true);
        }
        changes
    }
}
