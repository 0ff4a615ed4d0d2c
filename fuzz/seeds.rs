//! Seeds: written by the program's own encoders, so that they can be made again when a format changes.

use std::{fs, path::Path};

use super::targets::{TARGETS, Target};

/// Writes the seeds of every target, each target's into a folder of its name. Files that are there already under other names,
/// such as inputs that once broke something, stay.
pub(crate) fn write(folder: &Path) {
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder).expect("a folder");
        for (name, bytes) in (target.seeds)() {
            fs::write(folder.join(name), bytes).expect("written");
        }
    }
}

/// Runs a target over the files of a folder; gives whether it accepts any. Seeds that it accepts no more lead nowhere.
pub(crate) fn check(target: &Target, folder: &Path) -> bool {
    let files = fs::read_dir(folder).expect("a folder of seeds");
    let (mut accepted, mut refused) = (0, Vec::new());
    for file in files {
        let path = file.expect("an entry").path();
        if (target.run)(&fs::read(&path).expect("readable")) {
            accepted += 1;
        } else {
            refused.push(path.file_name().unwrap_or_default().to_owned());
        }
    }
    println!("{}: {accepted} seeds accepted, refused: {refused:?}", target.name);
    accepted > 0
}
