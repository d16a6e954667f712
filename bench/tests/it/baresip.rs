//! Phones that we did not write: Debian's baresip, each with a tone for its microphone.

mod calls;
mod secured;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::media_v1 as pb;
use ringpath_bench::process::Process;
use ringpath_bench::stand::Stand;
use ringpath_bench::wait;

use crate::bench::{WITHIN, skip};

const MODULES: &str = "/usr/lib/baresip/modules";

fn is_here(test: &str) -> bool {
    let is_here = Path::new(MODULES).join("srtp.so").exists();
    if !is_here {
        skip(test, "baresip is not installed; run `make bench-bootstrap`");
    }
    is_here
}

/// How a phone is configured.
struct Phone {
    at: SocketAddr,
    account: String,
    authority: Option<PathBuf>,
    commands: Option<SocketAddr>,
    dial: Option<(String, Duration)>,
    is_muxed: bool,
}

impl Phone {
    /// One with SIP at `at` and this line of its accounts.
    fn new(at: SocketAddr, account: String) -> Self {
        Self {
            at,
            account,
            authority: None,
            commands: None,
            dial: None,
            is_muxed: false,
        }
    }

    /// Who signs the certificates of its servers.
    fn authority(mut self, file: &Path) -> Self {
        self.authority = Some(file.to_owned());
        self
    }

    /// Where it takes commands, see [`Baresip::command`].
    fn commands(mut self, at: SocketAddr) -> Self {
        self.commands = Some(at);
        self
    }

    /// With RTP and RTCP on one port, which it does not do by itself.
    fn muxed(mut self) -> Self {
        self.is_muxed = true;
        self
    }

    /// It calls `uri` at once, and leaves, with a BYE, after `lasts`.
    fn dial(mut self, uri: String, lasts: Duration) -> Self {
        self.dial = Some((uri, lasts));
        self
    }

    fn config(&self, tone: &Path) -> String {
        let mut config = format!(
            "poll_method epoll\nsip_listen {}\nnet_interface {}\nmodule_path {MODULES}\n\
             module g711.so\nmodule aufile.so\nmodule srtp.so\nmodule dtls_srtp.so\nmodule ice.so\nmodule_app account.so\nmodule_app menu.so\n\
             audio_source aufile,{}\naudio_alert aufile,/dev/null\n",
            self.at,
            self.at.ip(),
            tone.display(),
        );
        // To a String there is no error.
        if let Some(file) = &self.authority {
            let _ = writeln!(config, "sip_cafile {}", file.display());
        }
        if self.is_muxed {
            let _ = writeln!(config, "rtcp_mux yes");
        }
        if let Some(at) = self.commands {
            let _ = writeln!(config, "module_app ctrl_tcp.so\nctrl_tcp_listen {at}");
        }
        config
    }

    fn start(self, stand: &Stand, name: &str) -> Baresip {
        let folder = stand.folder().join(format!("{name}.baresip"));
        std::fs::create_dir_all(&folder).unwrap();
        let tone = folder.join("tone.wav");
        std::fs::write(&tone, wav()).unwrap();
        std::fs::write(folder.join("config"), self.config(&tone)).unwrap();
        std::fs::write(folder.join("accounts"), format!("{}\n", self.account)).unwrap();
        std::fs::write(folder.join("contacts"), "").unwrap();
        let mut arguments = vec!["-f".to_owned(), folder.display().to_string()];
        let lasts = self
            .dial
            .as_ref()
            .map_or(Duration::from_secs(60), |(_, lasts)| *lasts);
        arguments.extend(["-t".to_owned(), lasts.as_secs().to_string()]);
        if let Some((uri, _)) = &self.dial {
            arguments.extend(["-e".to_owned(), format!("/dial {uri}")]);
        }
        let process = Process::start(name, "baresip", arguments, &[], stand.folder()).unwrap();
        let files = ["out", "log"].map(|kind| stand.folder().join(format!("{name}.{kind}")));
        let mut phone = Baresip {
            process,
            files,
            commands: None,
        };
        if let Some(at) = self.commands {
            phone.wait_for("baresip is ready");
            let stream = TcpStream::connect(at).unwrap();
            stream.set_read_timeout(Some(WITHIN)).unwrap();
            phone.commands = Some(stream);
        }
        phone
    }
}

/// A phone that runs. Dropping it kills it.
struct Baresip {
    process: Process,
    files: [PathBuf; 2],
    commands: Option<TcpStream>,
}

impl Baresip {
    /// All that it has written.
    fn told(&self) -> String {
        let mut told = String::new();
        for file in &self.files {
            let bytes = std::fs::read(file).unwrap_or_default();
            // To a String there is no error.
            let _ = writeln!(told, "{}", String::from_utf8_lossy(&bytes));
        }
        told
    }

    fn wait_for(&self, word: &str) {
        let waited = wait::until_true(word, WITHIN, || Ok(self.told().contains(word)));
        waited.unwrap_or_else(|error| panic!("{error:#}\n{}", self.told()));
    }

    /// Has it do something. It must have been given a place to take commands at.
    fn command(&mut self, command: &str, params: &str) {
        let done = self.ask(command, params);
        done.unwrap_or_else(|refusal| panic!("{command} {params}: {refusal}\n{}", self.told()));
    }

    /// What it says to a command, or why it does not take it.
    fn ask(&mut self, command: &str, params: &str) -> Result<String, String> {
        let request = serde_json::json!({ "command": command, "params": params }).to_string();
        let stream = self.commands.as_mut().unwrap();
        write!(stream, "{}:{request},", request.len()).unwrap();
        loop {
            let message = netstring(stream);
            // It tells events, too.
            if message["response"] == true {
                let said = message["data"].as_str().unwrap_or_default().to_owned();
                return if message["ok"] == true {
                    Ok(said)
                } else {
                    Err(said)
                };
            }
        }
    }
}

/// A phone's own account of the call that it has.
struct Audio {
    /// `sendrecv` and so on, as it stands after offer and answer.
    direction: String,
    /// RTP packets that came, of all sources.
    received: u64,
}

impl Baresip {
    /// `None` without a call.
    fn audio(&mut self) -> Option<Audio> {
        // Which it knows during calls alone.
        let told = self.ask("audio_debug", "").ok()?;
        let values = |key: &'static str| {
            let words = told.split_ascii_whitespace();
            words.filter_map(move |word| word.strip_prefix(key))
        };
        Some(Audio {
            direction: values("dir=").next()?.to_owned(),
            received: values("rcvd=")
                .filter_map(|count| count.parse::<u64>().ok())
                .sum(),
        })
    }
}

/// The next message of a phone: `length:JSON,`.
fn netstring(stream: &mut TcpStream) -> serde_json::Value {
    let mut byte = [0];
    let mut length = 0;
    loop {
        stream.read_exact(&mut byte).unwrap();
        match byte[0] {
            b':' => break,
            digit => length = length * 10 + usize::from(digit - b'0'),
        }
    }
    let mut text = vec![0; length + 1];
    stream.read_exact(&mut text).unwrap();
    serde_json::from_slice(&text[..length]).unwrap()
}

/// RTP packets that the node has of a party.
fn received(line: &pb::LineStatus) -> u64 {
    line.streams.iter().map(|stream| stream.packets).sum()
}

/// Twenty seconds of a tone, 16 bits at 8 kHz.
fn wav() -> Vec<u8> {
    let samples: Vec<u8> = (0..160_000u32)
        .flat_map(|n| (if n / 9 % 2 == 0 { 6_000i16 } else { -6_000 }).to_le_bytes())
        .collect();
    let len = samples.len() as u32;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + len).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16u32.to_le_bytes());
    wav.extend([1u16, 1].into_iter().flat_map(u16::to_le_bytes));
    wav.extend([8_000u32, 16_000].into_iter().flat_map(u32::to_le_bytes));
    wav.extend([2u16, 16].into_iter().flat_map(u16::to_le_bytes));
    wav.extend(b"data");
    wav.extend(len.to_le_bytes());
    wav.extend(samples);
    wav
}
