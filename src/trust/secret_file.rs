//! How the mode of a file is judged that holds a secret, or that is trusted.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use zeroize::Zeroizing;

/// Why a secret is not taken from its file.
#[derive(Debug)]
pub enum NotTaken {
    /// The file cannot be read.
    Unread(io::Error),
    /// These permission bits let others read it.
    OpenToOthers(u32),
}

impl From<io::Error> for NotTaken {
    fn from(error: io::Error) -> Self {
        Self::Unread(error)
    }
}

/// Opens a secret's file that others may not read.
pub fn open(path: &Path) -> Result<File, NotTaken> {
    let file = File::open(path)?;
    // Of what is open, not of what stands at the path a moment later.
    match open_to_others(&file.metadata()?) {
        Some(mode) => Err(NotTaken::OpenToOthers(mode)),
        None => Ok(file),
    }
}

/// The text of a secret's file that others may not read.
pub fn read(path: &Path) -> Result<Zeroizing<String>, NotTaken> {
    let mut text = Zeroizing::new(String::new());
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Gives the permission bits of a secret's file if they let others read it.
///
/// What is this process's own is for its user alone (0600). What is root's, while this process is not root, a group may
/// read too (0640), as `PostgreSQL` has it for its keys: an orchestrator gives a secret's files to root and to the group of
/// the processes that are to read them.
pub fn open_to_others(file: &fs::Metadata) -> Option<u32> {
    let user = rustix::process::geteuid().as_raw();
    let mode = file.mode() & 0o777;
    is_open(mode, file.uid(), user).then_some(mode)
}

/// Gives the permission bits of a file if they let others than its owner write it: whoever may, chooses whom we trust.
pub fn writable_by_others(file: &fs::Metadata) -> Option<u32> {
    let mode = file.mode() & 0o777;
    (mode & 0o022 != 0).then_some(mode)
}

fn is_open(mode: u32, owner: u32, user: u32) -> bool {
    let not_for_others = if owner == 0 && user != 0 { 0o037 } else { 0o077 };
    mode & not_for_others != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_what_is_root_s_and_nobody_else_what_is_ones_own() {
        let (root, other) = (0, 65_532);
        for (mode, owner, user, open) in [
            (0o600, other, other, false),
            (0o400, other, other, false),
            (0o640, other, other, true),
            (0o604, other, other, true),
            (0o440, root, other, false),
            (0o640, root, other, false),
            (0o660, root, other, true),
            (0o444, root, other, true),
            (0o600, root, root, false),
            (0o440, root, root, true),
        ] {
            assert_eq!(
                is_open(mode, owner, user),
                open,
                "{mode:04o} of {owner} for {user}"
            );
        }
    }
}
