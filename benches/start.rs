//! Seconds from the start of the server's process to its first right answer, with a country's register: from the snapshot
//! file, and from the embedded store alone; and what the process holds in memory by then.
//!
//! `cargo bench --bench start` prints lines; `-- --enterprises 10000000` another size. Making the store takes far longer
//! than all that is measured: `-- --store DIRECTORY` keeps it there, and takes it from there the next time.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints figures and fails on anything odd"
)]

#[allow(dead_code, reason = "declarations are the other programs'")]
mod support;

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use greenlane::{
    domain::{CreditTier, enterprise::Enterprise, identifier::SocialCreditCode},
    wire::pb::{self, facilitation_service_client::FacilitationServiceClient, party::Identifier},
};
use support::{
    server::median,
    world::{enterprise, number_text},
};
use tonic::transport::Endpoint;

/// The file that a server writes once it is caught up.
const SNAPSHOT: &str = "registry.snapshot";
/// Between two tries to get an answer: what a measurement may be too long.
const PACE: Duration = Duration::from_millis(5);
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_mins(30);

#[derive(Debug, Parser)]
struct Options {
    /// Registered enterprises.
    #[arg(long, default_value_t = 1_000_000)]
    enterprises: usize,
    /// Starts of each kind.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The data directory to keep; made where it is not there.
    #[arg(long)]
    store: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let passing = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let directory = options.store.clone().unwrap_or_else(|| passing.path().to_owned());
    fs::create_dir_all(&directory)?;
    let world = World {
        directory: fs::canonicalize(directory)?,
        known: (1..options.enterprises)
            .map(|number| enterprise(number, options.enterprises))
            .find(|known| {
                known.social_credit_code.is_some()
                    && known.credit.credit_tier == CreditTier::AdvancedCertified
                    && !known.credit.suspended
            })
            .context("too few enterprises")?,
        runtime: tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
    };
    let snapshot = world.directory.join(SNAPSHOT);
    if !world.directory.join("greenlane.db").exists() {
        world.import(options.enterprises)?;
    }
    // What the starts from the store measure does not hang on whether its file is in the system's memory.
    let mut starts = [Vec::new(), Vec::new()];
    for round in 0..=options.rounds {
        remove(&snapshot)?;
        let from_store = world.start()?;
        // The server writes the file when it is caught up, and at its end.
        world.stop(from_store.process, &snapshot)?;
        let from_file = world.start()?;
        end(from_file.process)?;
        // The first round brings both files into the system's memory.
        if round > 0 {
            starts[0].push((from_file.seconds, from_file.resident, from_file.peak));
            starts[1].push((from_store.seconds, from_store.resident, from_store.peak));
        }
    }
    for (name, starts) in ["the snapshot file", "the store"].iter().zip(starts) {
        let middle = |figure: fn(&(f64, f64, f64)) -> f64| median(starts.iter().map(figure).collect());
        let seconds = starts.iter().map(|start| format!("{:.2}", start.0));
        let seconds = seconds.collect::<Vec<_>>().join(", ");
        println!(
            "{} enterprises from {name}: the first right answer after {:.2} s (of {seconds}); resident {:.0} MiB, at \
             most {:.0}",
            options.enterprises,
            middle(|start| start.0),
            middle(|start| start.1),
            middle(|start| start.2),
        );
    }
    Ok(())
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Where the servers start.
struct World {
    directory: PathBuf,
    /// An enterprise whose declaration only a server that holds it treats as it should.
    known: Enterprise,
    runtime: tokio::runtime::Runtime,
}

/// A start, and what it took.
struct Start {
    process: Child,
    /// From `exec` to the first right answer.
    seconds: f64,
    /// The resident set at that answer in MiB, and the largest there ever was.
    resident: f64,
    peak: f64,
}

impl World {
    fn command(&self, address: SocketAddr) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenlane"));
        for setting in [
            format!("server.data_dir={}", self.directory.display()),
            format!("server.grpc_addr={address}"),
            "server.http_addr=127.0.0.1:0".to_owned(),
            format!("draw.master_secret={}", "5a".repeat(32)),
            "log.level=error".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        command
    }

    fn import(&self, enterprises: usize) -> Result<()> {
        let csv = self.directory.join("enterprises.csv");
        write_csv(&csv, enterprises)?;
        let from = Instant::now();
        let mut import = self.command(free_address()?);
        import
            .args(["enterprise", "import"])
            .arg(&csv)
            .stdout(Stdio::null());
        ensure!(import.status()?.success(), "importing failed");
        println!(
            "{enterprises} enterprises imported in {:.0} s",
            from.elapsed().as_secs_f64()
        );
        fs::remove_file(csv)?;
        Ok(())
    }

    fn start(&self) -> Result<Start> {
        let address = free_address()?;
        let mut serve = self.command(address);
        serve.arg("serve");
        let from = Instant::now();
        let process = serve.spawn()?;
        self.runtime.block_on(self.first_right_answer(address, from))?;
        let seconds = from.elapsed().as_secs_f64();
        Ok(Start {
            resident: status(&process, "VmRSS:")?,
            peak: status(&process, "VmHWM:")?,
            process,
            seconds,
        })
    }

    /// Asks again and again until the enterprise is known for what it is.
    async fn first_right_answer(&self, address: SocketAddr, from: Instant) -> Result<()> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
        let mut client = FacilitationServiceClient::new(channel);
        loop {
            let answer = client.decide(request(&self.known)).await;
            let decision = answer.ok().and_then(|answer| answer.into_inner().decision);
            if decision.is_some_and(|decision| {
                decision.credit_tier == i32::from(CreditTier::AdvancedCertified.number())
            }) {
                return Ok(());
            }
            ensure!(from.elapsed() < PATIENCE, "the server did not get ready");
            tokio::time::sleep(PACE).await;
        }
    }

    /// Ends a server in good order once its file is there.
    fn stop(&self, mut process: Child, snapshot: &Path) -> Result<()> {
        let from = Instant::now();
        while !snapshot.exists() {
            ensure!(from.elapsed() < PATIENCE, "no snapshot file was written");
            thread::park_timeout(Duration::from_millis(100));
        }
        let told = Command::new("kill").arg(process.id().to_string()).status()?;
        ensure!(
            told.success() && process.wait()?.success(),
            "the server did not end well"
        );
        // The next start finds no log to bring into the store.
        ensure!(self.directory.join("greenlane.db").exists(), "the store is there");
        Ok(())
    }
}

fn end(mut process: Child) -> Result<()> {
    process.kill()?;
    process.wait()?;
    Ok(())
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A size that the kernel tells of a process, in MiB.
#[allow(clippy::cast_precision_loss, reason = "a resident set")]
fn status(process: &Child, name: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.context("a Linux kernel")?.parse()?;
    Ok(kibibytes as f64 / 1024.0)
}

fn write_csv(path: &Path, enterprises: usize) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(
        file,
        "customs_code,social_credit_code,name,credit_tier,tier_effective_from,tier_valid_until,suspended"
    )?;
    for number in 0..enterprises {
        let Enterprise {
            customs_code,
            social_credit_code,
            name,
            credit,
        } = enterprise(number, enterprises);
        writeln!(
            file,
            "{customs_code},{},{name},{},{},{},{}",
            social_credit_code.as_ref().map_or("", SocialCreditCode::as_str),
            credit.credit_tier.name(),
            credit.tier_effective_from,
            credit
                .tier_valid_until
                .map(|end| end.to_string())
                .unwrap_or_default(),
            u8::from(credit.suspended),
        )?;
    }
    file.flush()?;
    Ok(())
}

/// A declaration by an enterprise that is named by its social credit code.
fn request(known: &Enterprise) -> pb::DecideRequest {
    let code = known.social_credit_code.expect("it was chosen for having one");
    pb::DecideRequest {
        declaration_number: String::from_utf8(number_text(7, b'1').to_vec()).expect("ASCII"),
        direction: pb::Direction::Import.into(),
        parties: vec![pb::Party {
            role: pb::PartyRole::Declarant.into(),
            identifier: Some(Identifier::SocialCreditCode(code.to_string())),
        }],
        goods: vec![pb::GoodsItem {
            hs_code: "8471300000".to_owned(),
            origin_country: "DE".to_owned(),
        }],
        customs_office: "2225".to_owned(),
        transport_mode: pb::TransportMode::Sea.into(),
        trade_mode: pb::TradeMode::General.into(),
        ..pb::DecideRequest::default()
    }
}
