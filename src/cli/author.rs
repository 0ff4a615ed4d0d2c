//! Who writes: the user of the operating system that runs the command.

use std::fs;

use crate::upstream::edit::{EditError, Editor};

/// The store with this user as who writes to it.
pub(super) fn signed(editor: Editor) -> Result<Editor, EditError> {
    editor.signed_by(&author())
}

/// The user's name, or their number where they have none.
fn author() -> String {
    let number = rustix::process::getuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|user| {
        let mut fields = user.split(':');
        let name = fields.next()?;
        // A password stands between name and number.
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid {number}"))
}
