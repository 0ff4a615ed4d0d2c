//! A NATS server of the test's own: its data in a folder of its own, on a port of its own, gone at the end.

use std::{
    env,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use async_nats::jetstream;

use super::{SOON, eventually};

/// A running server; stopped and removed when dropped.
pub(crate) struct Nats {
    keeper: Child,
    words: Option<ChildStdin>,
    folder: PathBuf,
    port: u16,
}

impl Nats {
    /// A server that holds nothing.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("greenlane-nats-")
            .tempdir()
            .unwrap()
            .keep();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut keeper = Command::new("bash")
            .arg("-c")
            .arg(include_str!("nats.sh"))
            .env("SERVER", program())
            .env("FOLDER", &folder)
            .env("PORT", port.to_string())
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

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A context as other programs have one.
    pub(crate) async fn context(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.url()).await.unwrap())
    }

    async fn wait_until_up(&self) {
        eventually("the server answers", SOON, async || {
            let client = async_nats::connect(self.url()).await.ok()?;
            jetstream::new(client).query_account().await.ok()
        })
        .await;
    }

    fn say(&mut self, word: &str) {
        writeln!(self.words.as_mut().unwrap(), "{word}").unwrap();
    }

    /// Ends the server at once.
    pub(crate) async fn kill(&mut self) {
        self.say("kill");
        eventually("the server is gone", SOON, async || {
            async_nats::connect(self.url()).await.err()
        })
        .await;
    }

    /// Starts it again.
    pub(crate) async fn start_again(&mut self) {
        self.say("start");
        self.wait_until_up().await;
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.words = None;
        self.keeper.wait().unwrap();
    }
}

/// The server's program: the one that the tests' Python packages bring, beside the folder of this build.
fn program() -> PathBuf {
    let build = Path::new(env!("CARGO_BIN_EXE_greenlane"))
        .ancestors()
        .nth(2)
        .unwrap();
    let brought = build.join("tests-venv/bin/nats-server");
    env::var_os("GREENLANE_NATS_SERVER")
        .map(PathBuf::from)
        .or_else(|| brought.exists().then_some(brought))
        .or_else(|| {
            let path = env::var_os("PATH")?;
            env::split_paths(&path)
                .map(|folder| folder.join("nats-server"))
                .find(|program| program.exists())
        })
        .expect("a NATS server is installed (tests/run.sh does it, with the tests' Python packages)")
}
