//! Compiles the wire contract; needs no protoc on the machine.

use std::{error::Error, fs, path::PathBuf};

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
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
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
