//! A `PostgreSQL` server of the test's own: its data in a folder of its own, on a port of its own, gone at the end.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use greenlane::{
    registry::{Generation, Place},
    upstream::{
        Found, ResyncCause,
        log::LogEntry,
        postgres::{self, Reader, Settings, TlsFiles},
    },
};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use super::{SOON, eventually};

/// A running server; stopped and removed when dropped.
pub(crate) struct Postgres {
    keeper: Child,
    words: Option<ChildStdin>,
    folder: PathBuf,
    port: u16,
}

/// A connection as other programs have one.
pub(crate) struct Session {
    pub(crate) client: Client,
    _driver: JoinSet<()>,
}

impl std::ops::Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Postgres {
    /// A server without a store.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// A server with more lines of configuration; `{folder}` in them is its folder.
    pub(crate) async fn start_with(configuration: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("greenlane-postgres-")
            .tempdir()
            .unwrap()
            .keep();
        let owner = owner();
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let copied = as_owner("cp")
            .args(["-r"])
            .arg(template())
            .arg(folder.join("data"))
            .status()
            .unwrap();
        assert!(copied.success());
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let configuration = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\n\
             shared_buffers = 32MB\nmax_connections = 50\n{configuration}\n",
        )
        .replace("{folder}", folder.to_str().unwrap());
        let file = folder.join("data/postgresql.auto.conf");
        fs::write(&file, configuration).unwrap();
        let mut keeper = as_owner("bash")
            .arg("-c")
            .arg(include_str!("postgres.sh"))
            .env("BIN", binaries())
            .env("FOLDER", &folder)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self {
            words: keeper.stdin.take(),
            keeper,
            folder,
            port,
        };
        server.wait_until_up().await;
        server
    }

    /// A server with an empty store.
    pub(crate) async fn with_store() -> Self {
        let server = Self::start().await;
        postgres::migrate(&server.settings()).await.unwrap();
        server
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives a file in its folder to the server alone.
    pub(crate) fn own(&self, file: &str) {
        let file = self.folder.join(file);
        if let Some((user, group)) = owner() {
            chown(&file, Some(user), Some(group)).unwrap();
        }
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable",
            self.port
        )
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            url: self.url(),
            poll_interval: Duration::from_millis(20),
            heartbeat_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            tls: TlsFiles::default(),
            password_file: None,
        }
    }

    /// A connection to the database `postgres`.
    pub(crate) async fn session(&self) -> Session {
        self.session_to("postgres").await
    }

    pub(crate) async fn session_to(&self, database: &str) -> Session {
        connect(&self.address(database)).await.unwrap()
    }

    fn address(&self, database: &str) -> String {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname={database}",
            self.port
        )
    }

    async fn wait_until_up(&self) {
        let address = self.address("postgres");
        eventually("the server answers", SOON, async || connect(&address).await.ok()).await;
    }

    fn say(&mut self, word: &str) {
        writeln!(self.words.as_mut().unwrap(), "{word}").unwrap();
    }

    /// Ends every process of the server at once, as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.say("kill");
        let address = self.address("postgres");
        eventually("the server is gone", SOON, async || connect(&address).await.err()).await;
    }

    /// Starts it again.
    pub(crate) async fn start_again(&mut self) {
        self.say("start");
        self.wait_until_up().await;
    }

    /// Stops every process of the server where it stands: connections stay open and nothing answers.
    pub(crate) fn freeze(&mut self) {
        self.say("freeze");
    }

    /// Lets them go on.
    pub(crate) fn thaw(&mut self) {
        self.say("thaw");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.words = None;
        self.keeper.wait().unwrap();
    }
}

async fn connect(address: &str) -> Result<Session, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    Ok(Session {
        client,
        _driver: driver,
    })
}

/// Where the server's programs are: Debian keeps them out of the path.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<_> = versions
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    found.sort();
    let newest = found.pop();
    newest
        .or_else(|| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).find(|bin| bin.join("initdb").exists())
        })
        .expect("PostgreSQL's server programs are installed (tests/run.sh does it)")
}

/// The user the server runs as where we are root, which it refuses to be.
fn owner() -> Option<(u32, u32)> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if !is_root {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = user.expect("there is a user postgres").split(':').skip(2);
    let mut number = || fields.next().unwrap().parse().unwrap();
    Some((number(), number()))
}

fn as_owner(program: &str) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner() {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    command
}

/// A data folder to copy, made by the first test that asks: `initdb` takes its time.
fn template() -> PathBuf {
    let binaries = binaries();
    let version = binaries
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let name = format!(
        "greenlane-tests-postgres-{version}-{}",
        owner().map_or(0, |owner| owner.0)
    );
    let template = std::env::temp_dir().join(name);
    if template.exists() {
        return template;
    }
    let making = tempfile::tempdir().unwrap();
    if let Some((user, group)) = owner() {
        chown(making.path(), Some(user), Some(group)).unwrap();
    }
    let data = making.path().join("data");
    let made = as_owner(binaries.join("initdb").to_str().unwrap())
        .args([
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--username=postgres",
        ])
        .arg("-D")
        .arg(&data)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    // Another test may have been faster; either copy will do.
    if fs::rename(&data, &template).is_err() {
        assert!(template.exists());
    }
    template
}

/// A replica that is fed by looks alone.
pub(crate) struct Follower {
    pub(crate) reader: Reader,
    pub(crate) generation: std::sync::Arc<Generation>,
}

impl Follower {
    /// One that begins with a snapshot.
    pub(crate) async fn begin(settings: Settings) -> Self {
        let mut reader = Reader::new(settings).unwrap();
        let generation = reader.snapshot().await.unwrap().generation;
        Self { reader, generation }
    }

    pub(crate) fn place(&self) -> Place {
        self.generation.place()
    }

    /// Applies what has come, up to the head; gives the lengths of the commits, or why a snapshot is due.
    pub(crate) async fn catch_up(&mut self) -> Result<Vec<usize>, ResyncCause> {
        let mut lengths = Vec::new();
        loop {
            let look = self.reader.poll(&self.place(), u64::MAX).await.unwrap();
            match look.found {
                Found::Nothing => {}
                Found::Resync(cause) => return Err(cause),
                Found::Commits(commits) => {
                    for commit in commits {
                        let changes: Vec<_> = commit.entries.iter().filter_map(LogEntry::change).collect();
                        self.generation.commit(&changes, commit.sequence(), commit.mark);
                        lengths.push(commit.entries.len());
                    }
                }
            }
            if look.confirmed.is_some() {
                return Ok(lengths);
            }
        }
    }
}
