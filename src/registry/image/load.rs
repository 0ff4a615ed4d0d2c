//! From an image back to a generation, without hashing a single row: the image carries its digest.

use std::sync::{Arc, atomic::Ordering};

use super::{
    super::{
        digest::Digest,
        generation::{Generation, ScheduleEntry},
        key::CustomsKey,
        names::Packed,
        orders::Rules,
    },
    BadImage, Tables,
    rows::rows,
};
use crate::{background, domain::CreditTier};

/// A generation that is being loaded from an image.
#[derive(Debug)]
pub struct Loading(Generation);

impl Loading {
    /// Begins a generation of a store, with room for that many enterprises.
    pub fn new(epoch: &str, enterprises: usize) -> Self {
        Self(Generation::new(epoch, enterprises))
    }

    /// Takes a [`Block::Enterprises`](super::Block::Enterprises). Several threads may do so at once, in any order.
    ///
    /// # Errors
    ///
    /// When the bytes are no such block, or an enterprise was there before.
    pub fn enterprises(&self, block: &[u8]) -> Result<(), BadImage> {
        let mut records = Vec::new();
        let mut names = Packed::default();
        let mut tiers = [0; CreditTier::COUNT];
        for row in rows(block)? {
            let row = row?;
            let record = row.record.ok_or(BadImage("a row is gone that was never there"))?;
            tiers[record.credit().credit_tier.index()] += 1;
            names.push(row.name);
            records.push((row.key, record));
            background::give_way();
        }
        for ((_, record), place) in records.iter_mut().zip(self.0.writer().names.add_all(&names)) {
            record.name = place;
        }
        if !self.0.enterprises.fill(&records).is_empty() {
            return Err(BadImage("an enterprise stands twice"));
        }
        for (count, rows) in self.0.tiers.iter().zip(tiers) {
            count.fetch_add(rows, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes a [`Block::Changed`](super::Block::Changed): in their order, after all the others.
    ///
    /// # Errors
    ///
    /// When the bytes are no such block.
    pub fn changed(&mut self, block: &[u8]) -> Result<(), BadImage> {
        let Self(generation) = self;
        let mut writer = generation.writer();
        for row in rows(block)? {
            let row = row?;
            if let Some(former) = generation.enterprises.remove(row.key) {
                generation.tiers[former.credit().credit_tier.index()].fetch_sub(1, Ordering::Relaxed);
            }
            if let Some(mut record) = row.record {
                record.name = writer.names.add(row.name);
                generation.tiers[record.credit().credit_tier.index()].fetch_add(1, Ordering::Relaxed);
                generation.enterprises.put(row.key, &record);
            }
        }
        Ok(())
    }

    /// Ends the image.
    ///
    /// # Errors
    ///
    /// When the enterprises are not as many as the tables say, or the tables are of another store.
    pub fn finish(self, tables: Tables) -> Result<Generation, BadImage> {
        let Self(generation) = self;
        if generation.tier_counts() != tables.tiers {
            return Err(BadImage(
                "the enterprises of a tier are not as many as the image says",
            ));
        }
        if generation.epoch != tables.place.position.epoch {
            return Err(BadImage("the enterprises and the position are of two stores"));
        }
        let mut writer = generation.writer();
        for schedule in tables.schedules {
            let key = CustomsKey::from(schedule.customs_code);
            let entry = ScheduleEntry {
                changes: schedule.changes,
                unreadable: schedule.unreadable,
            };
            generation.schedules.insert(key, entry);
            if let Some(mut record) = generation.enterprises.get(key) {
                record.set_scheduled(true);
                generation.enterprises.put(key, &record);
            }
        }
        for operator in tables.operators {
            generation.operators.insert(operator.aeo_code, operator);
        }
        writer.arrangements.extend(tables.arrangements);
        writer.orders.extend(tables.orders);
        let quarantined = tables.quarantined.into_iter();
        writer
            .quarantined
            .extend(quarantined.map(|row| ((row.entity, row.key), row.reason)));
        writer.digest = Digest::from_bytes(&tables.digest);
        generation
            .rules
            .store(Arc::new(Rules::new(&writer.orders, &writer.arrangements)));
        let sequence = tables.place.position.sequence;
        generation.sequence.store(sequence, Ordering::Release);
        writer.note(sequence, tables.place.mark);
        drop(writer);
        Ok(generation)
    }
}
