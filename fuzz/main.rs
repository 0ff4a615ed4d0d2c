//! Bad input by the million: everything that reads what others wrote, fed by libFuzzer. See `fuzz/run.sh`.
//!
//! One program holds every target; the environment says which is meant:
//!
//! ```text
//! FUZZ_TARGET=decide fuzz [libFuzzer's options] CORPUS...   runs that target
//! FUZZ_TARGET=decide FUZZ_CHECK=fuzz/seeds/decide fuzz      runs it over those files, and fails where it accepts none of them
//! FUZZ_SEEDS=fuzz/seeds fuzz                                writes the seeds of every target, by the program's own encoders
//! FUZZ_LIST=1 fuzz                                          lists the targets
//! ```
//!
//! Built by `fuzz/instrumented.sh` it has `cfg(fuzzing)`, under which checksums that anybody can compute are not compared: what
//! is behind them is what a forger reaches.

#![no_main]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::exit,
    clippy::disallowed_methods,
    reason = "what is not as it should be ends the program: that is a find"
)]

mod contract;
mod seeds;
mod targets;
mod world;

use std::{env, sync::OnceLock};

use targets::{TARGETS, Target};

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

fn choose() {
    if env::var_os("FUZZ_LIST").is_some() {
        for target in TARGETS {
            println!("{}", target.name);
        }
        std::process::exit(0);
    }
    if let Some(folder) = env::var_os("FUZZ_SEEDS") {
        seeds::write(folder.as_ref());
        std::process::exit(0);
    }
    let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
    if let Some(folder) = env::var_os("FUZZ_CHECK") {
        std::process::exit(i32::from(!seeds::check(target, folder.as_ref())));
    }
    CHOSEN.get_or_init(|| target);
}

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        (target.run)(data);
    }
});
