use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ringpath_bench::{tone, wait};

const SAMPLES: usize = 160;
const PTIME: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(60);
/// Seconds at the end that are listened to: at the beginning a party still finds out where to send.
const HEARD_SAMPLES: usize = 8_000;

/// The media of a phone, whose signalling is SIPp's or nobody's: RTP with a tone in A-law, and what comes of the other party's.
pub struct PlainPhone {
    socket: UdpSocket,
    hertz: f64,
    is_over: Arc<AtomicBool>,
    talking: Option<JoinHandle<Vec<u8>>>,
}

/// What a phone heard.
pub struct Heard(Vec<u8>);

impl Heard {
    /// Of the second of it that has most of this tone.
    pub fn share(&self, hertz: f64) -> f64 {
        let seconds = self.0.chunks_exact(HEARD_SAMPLES);
        seconds
            .map(|second| tone::share(second, hertz))
            .fold(0.0, f64::max)
    }

    pub fn samples(&self) -> usize {
        self.0.len()
    }
}

impl PlainPhone {
    /// At `local`, saying a tone.
    pub fn new(local: SocketAddr, hertz: f64) -> Self {
        let socket = UdpSocket::bind(local).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            hertz,
            is_over: Arc::default(),
            talking: None,
        }
    }

    pub fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// Talks from when SIPp's log says where to.
    pub fn talk(&mut self, log: PathBuf) {
        self.begin(move || {
            let to = wait::until("where to talk to", WITHIN, || {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let line = text.lines().find(|line| line.starts_with("talk "));
                let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
                Ok(match words[..] {
                    [_, _, ip, port, ..] => Some(format!("{ip}:{port}").parse::<SocketAddr>()?),
                    _ => None,
                })
            });
            to.unwrap()
        });
    }

    /// Talks to there from now on.
    pub fn talk_to(&mut self, to: SocketAddr) {
        self.begin(move || to);
    }

    fn begin(&mut self, to: impl FnOnce() -> SocketAddr + Send + 'static) {
        let (socket, hertz, is_over) = (self.socket.try_clone().unwrap(), self.hertz, self.is_over.clone());
        self.talking = Some(std::thread::spawn(move || {
            let to = to();
            let mut heard = Vec::new();
            let mut number = 0usize;
            while !is_over.load(Ordering::Relaxed) {
                let mut packet = vec![0x80, 8];
                packet.extend((number as u16).to_be_bytes());
                packet.extend(((number * SAMPLES) as u32).to_be_bytes());
                packet.extend(0x0070_6e65_u32.to_be_bytes());
                packet.extend(tone::alaw(hertz, number * SAMPLES, SAMPLES));
                // The node may have ended the call by now.
                let _ = socket.send_to(&packet, to);
                number += 1;
                let mut buffer = [0; 2_048];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    assert_eq!(from, to, "from where it sends to");
                    assert_eq!((buffer[0] & 0xc0, buffer[1] & 0x7f), (0x80, 8), "RTP with A-law");
                    heard.extend(&buffer[12 + 4 * usize::from(buffer[0] & 0xf)..length]);
                }
                wait::pass(PTIME);
            }
            heard
        }));
    }

    /// What it heard until now.
    pub fn hang_up(mut self) -> Heard {
        self.is_over.store(true, Ordering::Relaxed);
        Heard(self.talking.take().expect("it talks").join().unwrap())
    }
}
