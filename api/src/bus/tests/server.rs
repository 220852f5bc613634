//! A nats-server of a test's own, on a free port, with its store in a folder of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time;
use uuid::Uuid;

/// Ends with the value.
pub(crate) struct NatsServer {
    port: u16,
    folder: PathBuf,
    process: Child,
}

impl NatsServer {
    pub(crate) async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("vkube-nats-{}", Uuid::new_v4().simple()));
        std::fs::create_dir_all(&folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { port, process: spawn(&folder, port, ""), folder };
        server.ready().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it, as a power cut would.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Kills it and starts it again on what it has stored.
    pub(crate) async fn restart(&mut self) {
        self.restart_with(|_| {}).await;
    }

    /// Kills it and starts it again for one user only, and does not wait.
    pub(crate) async fn restart_for(&mut self, user: &str, password: &str) {
        self.kill().await;
        let login = format!("authorization {{ user: \"{user}\", password: \"{password}\" }}");
        self.process = spawn(&self.folder, self.port, &login);
    }

    /// Kills it, does something to its store, and starts it again.
    async fn restart_with(&mut self, change: impl FnOnce(&Path)) {
        self.kill().await;
        change(&self.folder);
        self.process = spawn(&self.folder, self.port, "");
        self.ready().await;
    }

    /// Keeps a copy of its store.
    pub(crate) async fn save(&mut self) {
        self.restart_with(|folder| copy(&folder.join("jetstream"), &folder.join("saved"))).await;
    }

    /// Goes back to the copy of its store.
    pub(crate) async fn go_back(&mut self) {
        self.restart_with(|folder| {
            std::fs::remove_dir_all(folder.join("jetstream")).unwrap();
            std::fs::rename(folder.join("saved"), folder.join("jetstream")).unwrap();
        })
        .await;
    }

    /// Kills it and starts it again with nothing stored.
    pub(crate) async fn wipe(&mut self) {
        self.restart_with(|folder| std::fs::remove_dir_all(folder.join("jetstream")).unwrap()).await;
    }

    async fn ready(&self) {
        let answers = async {
            loop {
                if let Ok(client) = async_nats::connect(self.url()).await
                    && async_nats::jetstream::new(client).query_account().await.is_ok()
                {
                    return;
                }
                time::sleep(Duration::from_millis(20)).await;
            }
        };
        let log = self.folder.join("log");
        assert!(time::timeout(Duration::from_secs(20), answers).await.is_ok(), "no nats-server: see {}", log.display());
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // First the process, else it may write once more into the folder that is removed.
        let _ = self.process.start_kill();
        for _ in 0..100 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

fn spawn(folder: &Path, port: u16, more: &str) -> Child {
    let config = folder.join("nats.conf");
    let settings = format!(
        "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n{more}\n",
        folder.display()
    );
    std::fs::write(&config, settings).unwrap();
    let log = folder.join("log");
    let mut command = Command::new(binary());
    command.arg("-c").arg(config).arg("-l").arg(log).kill_on_drop(true).spawn().unwrap()
}

/// `VKUBE_NATS_SERVER`, else what `dev/up` has built, else the one in the path.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("VKUBE_NATS_SERVER") {
        return path.into();
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
    let built =
        cache.into_iter().flat_map(|cache| std::fs::read_dir(cache.join("vkube/servers")).into_iter().flatten());
    let built = built.filter_map(|entry| Some(entry.ok()?.path().join("nats-server"))).filter(|path| path.is_file());
    let newest = built.max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
    let in_path = || {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders).map(|folder| folder.join("nats-server")).find(|path| path.is_file())
    };
    newest.or_else(in_path).expect(
        "no nats-server: build the pinned one with `cd dev/servers/nats && go build -o <file> \
         github.com/nats-io/nats-server/v2` and set VKUBE_NATS_SERVER=<file>, or run dev/up once",
    )
}
