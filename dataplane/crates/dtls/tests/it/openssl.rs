//! A handshake with OpenSSL, in both roles: it exports the same keys.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use dtls::{Association, Endpoint, Event, Identity, Keys, Settings, fingerprint};
use media_types::{DtlsRole, Fingerprint, HashFunction};
use ops::clock::MonotonicClock;
use sans_io::{Epoch, Timestamp};
use srtp::Suite;

use crate::pair::master;

/// The longest that a handshake on this machine may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The SRTP profiles that both know.
const PROFILES: [(&str, Suite); 3] = [
    ("SRTP_AES128_CM_SHA1_80", Suite::AesCm128HmacSha1_80),
    ("SRTP_AEAD_AES_128_GCM", Suite::AeadAes128Gcm),
    ("SRTP_AEAD_AES_256_GCM", Suite::AeadAes256Gcm),
];

/// OpenSSL at work, ended with its owner.
struct Openssl {
    child: Child,
    lines: Receiver<String>,
}

impl Openssl {
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new("openssl")
            .args(arguments)
            // It stops when its input ends, so that is held open.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The rest of the first line that begins so.
    fn line(&self, beginning: &str) -> anyhow::Result<String> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.with_context(|| format!("no line with {beginning:?}"))?;
            if let Some(rest) = line.trim().strip_prefix(beginning) {
                return Ok(rest.trim().to_owned());
            }
        }
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether OpenSSL is there; says so if it isn't.
fn is_there(test: &str) -> bool {
    let version = Command::new("openssl").arg("version").output();
    if version.is_ok_and(|output| output.status.success()) {
        return true;
    }
    println!("SKIP {test}: the program openssl is not installed");
    assert!(
        std::env::var_os("STRICT").is_none_or(|strict| strict != "1"),
        "STRICT=1 allows no skips"
    );
    false
}

/// Makes a certificate on P-256 in `folder` and gives its fingerprint.
fn certificate(folder: &Path) -> anyhow::Result<Fingerprint> {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-subj", "/CN=peer", "-days", "2"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .stderr(Stdio::null())
        .status()?;
    ensure!(made.success(), "openssl made no certificate");
    let mut converted = Command::new("openssl")
        .current_dir(folder)
        .args(["x509", "-in", "certificate.pem", "-outform", "DER"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut der = Vec::new();
    let output = converted.stdout.as_mut().context("no output")?;
    output.read_to_end(&mut der)?;
    ensure!(converted.wait()?.success(), "openssl gave no certificate");
    Ok(fingerprint(HashFunction::Sha256, &der))
}

/// Drives an association over a socket until it has keys. A passive one learns its party from the first datagram.
fn drive(socket: &UdpSocket, party: Option<SocketAddr>, fingerprint: Fingerprint) -> anyhow::Result<Keys> {
    let clock = MonotonicClock::start();
    let (role, mut party) = match party {
        Some(party) => (DtlsRole::Active, Some(party)),
        None => (DtlsRole::Passive, None),
    };
    let (identity, epoch) = (Identity::generate()?, Epoch::new(clock.instant(Timestamp::ZERO)));
    let endpoint = Endpoint::new(Settings::default(), Arc::new(identity))?;
    let mut association = Association::new(&endpoint, role, epoch, clock.now());
    association.set_fingerprints(clock.now(), vec![fingerprint]);
    let end = clock.now() + PATIENCE;
    let mut buffer = [0; 2_048];
    let mut keys = None;
    loop {
        while let Some(datagram) = association.poll_transmit() {
            socket.send_to(&datagram, party.context("it speaks first")?)?;
        }
        match association.poll_event() {
            Some(Event::Connected(connected)) => keys = Some(connected),
            Some(event) => bail!("{event:?}"),
            None => {}
        }
        if let Some(keys) = keys {
            return Ok(keys);
        }
        let now = clock.now();
        ensure!(now < end, "no handshake in {PATIENCE:?}");
        let wait = association.poll_timeout().unwrap_or(end).min(end);
        let wait = wait.saturating_since(now).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv_from(&mut buffer) {
            Ok((len, source)) => {
                association.set_remote(*party.get_or_insert(source));
                association.handle_datagram(clock.now(), source, &buffer[..len])?;
            }
            Err(_) => association.handle_timeout(clock.now()),
        }
    }
}

/// Asserts that our keys are those of the hexadecimal text that OpenSSL prints.
fn assert_same(keys: &Keys, hexadecimal: &str, suite: Suite, role: DtlsRole) -> anyhow::Result<()> {
    assert_eq!(keys.suite(), suite);
    let digits = hexadecimal.as_bytes().chunks(2);
    let bytes: Result<Vec<u8>, _> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or(""), 16))
        .collect();
    let bytes = bytes?;
    let (key, salt) = (suite.key_len(), suite.salt_len());
    assert_eq!(bytes.len(), 2 * (key + salt), "{hexadecimal}");
    let of = |place: usize| {
        let salts = &bytes[2 * key..];
        let joined = [&bytes[place * key..][..key], &salts[place * salt..][..salt]].concat();
        srtp::MasterKey::new(suite, &joined)
    };
    let (client, server) = (of(0)?, of(1)?);
    let (send, receive) = match role {
        DtlsRole::Active => (client, server),
        DtlsRole::Passive => (server, client),
    };
    for (ours, theirs) in [(&keys.send, &send), (&keys.receive, &receive)] {
        let mut packet = [0x80; 40];
        let len = srtp::Sender::new(&master(ours)?, 1)?.protect_rtp(&mut packet, 20)?;
        let len = srtp::Receiver::new(theirs, 1)?.unprotect_rtp(&mut packet[..len])?;
        assert_eq!(len, 20);
    }
    Ok(())
}

#[test]
fn we_begin() -> anyhow::Result<()> {
    if !is_there("openssl::we_begin") {
        return Ok(());
    }
    for (profile, suite) in PROFILES {
        let folder = tempfile::tempdir()?;
        let fingerprint = certificate(folder.path())?;
        let (key, shown) = (
            folder.path().join("key.pem"),
            folder.path().join("certificate.pem"),
        );
        let length = (2 * (suite.key_len() + suite.salt_len())).to_string();
        let server = Openssl::start(&[
            "s_server",
            "-dtls1_2",
            "-accept",
            "127.0.0.1:0",
            "-key",
            &key.to_string_lossy(),
            "-cert",
            &shown.to_string_lossy(),
            "-verify",
            "1",
            "-use_srtp",
            profile,
            "-keymatexport",
            "EXTRACTOR-dtls_srtp",
            "-keymatexportlen",
            &length,
        ])?;
        let party = server.line("ACCEPT")?.parse()?;
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let keys = drive(&socket, Some(party), fingerprint)?;
        assert_same(&keys, &server.line("Keying material:")?, suite, DtlsRole::Active)?;
    }
    Ok(())
}

#[test]
fn it_begins() -> anyhow::Result<()> {
    if !is_there("openssl::it_begins") {
        return Ok(());
    }
    for (profile, suite) in PROFILES {
        let folder = tempfile::tempdir()?;
        let fingerprint = certificate(folder.path())?;
        let (key, shown) = (
            folder.path().join("key.pem"),
            folder.path().join("certificate.pem"),
        );
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let length = (2 * (suite.key_len() + suite.salt_len())).to_string();
        let client = Openssl::start(&[
            "s_client",
            "-dtls1_2",
            "-connect",
            &socket.local_addr()?.to_string(),
            "-key",
            &key.to_string_lossy(),
            "-cert",
            &shown.to_string_lossy(),
            "-use_srtp",
            profile,
            "-keymatexport",
            "EXTRACTOR-dtls_srtp",
            "-keymatexportlen",
            &length,
        ])?;
        let keys = drive(&socket, None, fingerprint)?;
        assert_same(&keys, &client.line("Keying material:")?, suite, DtlsRole::Passive)?;
    }
    Ok(())
}
