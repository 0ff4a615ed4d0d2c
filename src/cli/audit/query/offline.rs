//! Records read from files, or from what was shipped to a store.

use std::path::Path;

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};

use super::Shown;
use crate::{
    app::source_settings,
    audit::{
        frame::{GroupHeader, HEADER},
        read::{Group, LogReader, SegmentReader},
        segment,
    },
    cli::Context,
    upstream::archive::ArchiveReader,
};

/// Bytes that are asked of a store at once.
const AT_ONCE: usize = 4 << 20;

/// Takes a record; `false` once no more is wanted.
type Take<'a> = &'a mut dyn FnMut(&Shown) -> anyhow::Result<bool>;

/// Reads every record of a log's directory in order.
pub(super) fn directory(directory: &Path, take: Take<'_>) -> anyhow::Result<()> {
    let segments = segment::list(directory).with_context(|| directory.display().to_string())?;
    let Some((first, path)) = segments.first() else {
        anyhow::bail!("{}: no log is there", directory.display());
    };
    let replica = SegmentReader::open(path)?.header.replica.to_string();
    let mut reader = LogReader::open(directory, *first)?;
    while let Some(group) = reader.next_group()? {
        if !records(&group, &replica, take)? {
            break;
        }
    }
    Ok(())
}

/// Reads every record that was shipped to a store, replica by replica.
pub(super) async fn store(context: &Context, url: &str, take: Take<'_>) -> anyhow::Result<()> {
    let mut settings = source_settings(context.settings());
    url.clone_into(&mut settings.url);
    let archive = ArchiveReader::open(&settings)?;
    let archive = archive
        .context("--store: logs are shipped to PostgreSQL and NATS alone; read this one with --log")?;
    for replica in archive.replicas().await? {
        let mut next = 1;
        loop {
            let frames = archive.groups(&replica, next, AT_ONCE).await?;
            if frames.is_empty() {
                break;
            }
            for frame in frames {
                let group =
                    group(frame).with_context(|| format!("{replica}: record {next} is in no whole group"))?;
                next = group.header.next_sequence();
                if !records(&group, &replica, take)? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// A group from its frame; `None` unless it is whole.
fn group(mut frame: Bytes) -> Option<Group> {
    let header = GroupHeader::read(frame.first_chunk::<HEADER>()?)?;
    frame.advance(HEADER);
    let whole = frame.len() == header.length as usize && crc32fast::hash(&frame) == header.payload_crc;
    whole.then_some(Group {
        header,
        offset: 0,
        payload: frame,
    })
}

fn records(group: &Group, replica: &str, take: Take<'_>) -> anyhow::Result<bool> {
    for (sequence, record) in group.decoded() {
        let shown = Shown {
            replica: replica.to_owned(),
            sequence,
            record,
        };
        if !take(&shown)? {
            return Ok(false);
        }
    }
    Ok(true)
}
