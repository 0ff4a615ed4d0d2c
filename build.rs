//! Compiles the wire contract, and stamps the program with its commit; needs neither protoc nor git on the machine.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

use prost::Message as _;

const FILES: [&str; 6] = [
    "greenlane/v1/audit_record.proto",
    "greenlane/v1/audit_service.proto",
    "greenlane/v1/decision.proto",
    "greenlane/v1/facilitation_service.proto",
    "greenlane/v1/priority_service.proto",
    "greenlane/v1/registry_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    stamp();
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    // What reflection serves and what JSON is read by.
    fs::write(folder.join("greenlane.descriptors"), descriptors.encode_to_vec())?;
    // Messages and clients.
    tonic_prost_build::configure()
        .codec_path("crate::service::codec::Codec")
        // Their items are decoded one by one, so that a bad one is answered alone (wire/lenient.rs).
        .extern_path(".greenlane.v1.BatchDecideRequest", "crate::wire::lenient::BatchDecideRequest")
        .extern_path(".greenlane.v1.DecideStreamRequest", "crate::wire::lenient::DecideStreamRequest")
        .build_server(false)
        .compile_fds(descriptors.clone())?;
    // Servers, which take and give decisions as the bytes that the audit log holds too (wire/raw.rs).
    let served = folder.join("served");
    fs::create_dir_all(&served)?;
    let mut servers = tonic_prost_build::configure()
        .codec_path("crate::service::codec::Codec")
        .out_dir(served)
        .build_client(false)
        .extern_path(".greenlane.v1", "crate::wire::pb");
    for message in [
        "DecideRequest",
        "DecideResponse",
        "BatchDecideResponse",
        "DecideStreamResponse",
    ] {
        servers = servers.extern_path(
            format!(".greenlane.v1.{message}"),
            format!("crate::wire::raw::{message}"),
        );
    }
    servers.compile_fds(descriptors)?;
    Ok(())
}

/// What `greenlane --version` tells of the source: its commit and that commit's instant, so that the same source gives the
/// same program. `GREENLANE_COMMIT` and `SOURCE_DATE_EPOCH` stand above git, for builds that have no repository.
fn stamp() {
    println!("cargo:rerun-if-env-changed=GREENLANE_COMMIT");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let (commit, built_at) = (given("GREENLANE_COMMIT"), given("SOURCE_DATE_EPOCH"));
    // A source that was unpacked inside another repository is not of its commit. Who says both is not built anew whenever
    // HEAD moves.
    let is_repository = (commit.is_none() || built_at.is_none())
        && git(&["rev-parse", "--show-prefix"]).is_some_and(|prefix| prefix.is_empty());
    let of_git = |arguments: &[&str]| is_repository.then(|| git(arguments)).flatten();
    if let Some(log) = of_git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        // Written whenever HEAD moves; where there is none, looked for at every build.
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = commit.or_else(|| of_git(&["rev-parse", "HEAD"]));
    let built_at = built_at.or_else(|| of_git(&["log", "-1", "--format=%ct"]));
    if let Some(commit) = commit {
        let short = commit.get(..12).unwrap_or(&commit);
        println!("cargo:rustc-env=GREENLANE_COMMIT={short}");
    }
    if let Some(built_at) = built_at {
        println!("cargo:rustc-env=GREENLANE_BUILT_AT={built_at}");
    }
}

/// What git answers, if it is there and answers at all.
fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    answer.status.success().then(|| text.trim().to_owned())
}
