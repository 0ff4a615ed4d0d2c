//! The real server in a process of its own: on core 0, where `taskset` is, so that its clients do not disturb it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use greenlane::wire::pb::{self, facilitation_service_client::FacilitationServiceClient, party::Identifier};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tonic::transport::Channel;

const BINARY: &str = env!("CARGO_BIN_EXE_greenlane");
const TASKSET: &str = "/usr/bin/taskset";

/// A server, until it is dropped.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// Where it serves gRPC.
    pub(crate) address: SocketAddr,
    /// Where it serves HTTP.
    pub(crate) http: SocketAddr,
    /// Its data.
    pub(crate) directory: tempfile::TempDir,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The register in a store, from which servers begin.
pub(crate) fn import(csv: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let imported = Command::new(BINARY)
        .args(["enterprise", "import"])
        .arg(csv)
        .args([
            "--set",
            &format!("server.data_dir={}", directory.path().display()),
        ])
        .stdout(Stdio::null())
        .status();
    assert!(imported.expect("run").success(), "import");
    directory
}

/// A command on these cores, where `taskset` is.
pub(crate) fn pinned(program: &str, cores: &str) -> Command {
    if Path::new(TASKSET).exists() {
        let mut command = Command::new(TASKSET);
        command.args(["-c", cores, program]);
        command
    } else {
        Command::new(program)
    }
}

/// The clients do not take the servers' processor.
pub(crate) fn pin_to_the_second_core() {
    let own = std::process::id().to_string();
    let pinned = Command::new(TASKSET)
        .args(["-p", "-c", "1", &own])
        .stdout(Stdio::null())
        .status();
    if !pinned.is_ok_and(|status| status.success()) {
        println!("clients and servers share their processors");
    }
}

impl Server {
    /// Imports the register and starts, with one worker on the first core.
    pub(crate) fn start(name: &'static str, settings: &[&str], csv: &Path) -> Self {
        Self::start_from(name, settings, &import(csv), "0")
    }

    /// Starts on a copy of that store, on these cores.
    pub(crate) fn start_from(
        name: &'static str,
        settings: &[&str],
        store: &tempfile::TempDir,
        cores: &str,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for file in fs::read_dir(store.path()).expect("a directory").flatten() {
            fs::copy(file.path(), directory.path().join(file.file_name())).expect("copied");
        }
        let (address, http) = (free_address(), free_address());
        let mut serve = pinned(BINARY, cores);
        serve.arg("serve");
        let own = [
            &*format!("server.data_dir={}", directory.path().display()),
            &*format!("server.grpc_addr={address}"),
            &*format!("server.http_addr={http}"),
            "server.workers=1",
            &*format!("draw.master_secret={}", "5a".repeat(32)),
            "log.level=warn",
        ];
        for setting in own.iter().chain(settings) {
            serve.args(["--set", setting]);
        }
        Self {
            name,
            process: serve.spawn().expect("started"),
            address,
            http,
            directory,
        }
    }

    /// Has a program serve, which is given where.
    pub(crate) fn other(name: &'static str, mut program: Command) -> Self {
        let address = free_address();
        program.args(["--address", &address.to_string()]);
        Self {
            name,
            process: program.spawn().expect("started"),
            address,
            http: address,
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// The CPU time that it has taken.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.process.id())
    }

    /// Its resident set in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.process.id())).expect("it runs");
        let pages = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        pages.expect("the resident pages") * 4096
    }

    /// Files and sockets that it has open.
    pub(crate) fn open_files(&self) -> usize {
        let files = fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("it runs");
        files.count()
    }

    /// A metric without labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.http).expect("it serves HTTP");
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n"
        )
        .expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("answered");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).expect("a metric")
    }
}

/// CPU time of every thread of a process, by the scheduler.
pub(crate) fn cpu(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// What was taken since it stood at `before`; a thread that has ended takes its own away.
pub(crate) fn since(now: Duration, before: Duration) -> Duration {
    now.saturating_sub(before)
}

/// The customs code of an enterprise in the file.
pub(crate) fn code(index: usize) -> String {
    format!("{:04}9{:05}", 1101 + index / 100_000, index % 100_000)
}

/// Writes a register of that many enterprises; each hundredth is advanced certified.
pub(crate) fn enterprises(path: &Path, count: usize) {
    let mut file = fs::File::create(path).expect("a file");
    writeln!(file, "customs_code,name,credit_tier,tier_effective_from").expect("written");
    for index in 0..count {
        let tier = match index % 100 {
            0 => "ADVANCED_CERTIFIED",
            1 | 2 => "CERTIFIED",
            3 => "DISCREDITED",
            _ => "REGULAR",
        };
        writeln!(file, "{},Enterprise {index},{tier},2020-01-01", code(index)).expect("written");
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// A party that the file holds.
pub(crate) fn party(role: pb::PartyRole, index: usize) -> pb::Party {
    pb::Party {
        role: role.into(),
        identifier: Some(Identifier::CustomsCode(code(index))),
    }
}

/// A typical declaration: 2 parties, 3 goods, 1 container.
pub(crate) fn request(random: &mut StdRng, enterprises: usize) -> pb::DecideRequest {
    let goods = |hs_code: &str, origin: &str| pb::GoodsItem {
        hs_code: hs_code.to_owned(),
        origin_country: origin.to_owned(),
    };
    pb::DecideRequest {
        declaration_number: format!("22252026{}{:09}", 1, random.random_range(0..1_000_000_000)),
        direction: pb::Direction::Import.into(),
        parties: vec![
            party(pb::PartyRole::Declarant, random.random_range(0..enterprises)),
            party(pb::PartyRole::Consignee, random.random_range(0..enterprises)),
        ],
        goods: vec![
            goods("8471300000", "DE"),
            goods("8517620000", "JP"),
            goods("9403200000", "US"),
        ],
        customs_office: "2225".to_owned(),
        transport_mode: pb::TransportMode::Sea.into(),
        trade_mode: pb::TradeMode::General.into(),
        container_numbers: vec!["CSQU3054383".to_owned()],
        ..pb::DecideRequest::default()
    }
}

/// A connection to a server that answers.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    let deadline = Instant::now() + Duration::from_mins(5);
    loop {
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
        if let Ok(channel) = endpoint.connect().await {
            let mut client = FacilitationServiceClient::new(channel.clone());
            let mut random = StdRng::seed_from_u64(0);
            if client.decide(request(&mut random, 1)).await.is_ok() {
                return channel;
            }
        }
        assert!(Instant::now() < deadline, "the server did not get ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
