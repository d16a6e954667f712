//! Workers whose back-end breaks, or cannot be made.

use net_io::frame::FrameAccount;
use net_io::{Frame, IoCounters, PacketIo, Received, Waker};

use super::*;

/// A back-end whose ring or epoll is broken.
struct Broken(Simulated);

impl Ports for Broken {
    fn open(&mut self, local: SocketAddr) -> Result<PortId, OpenError> {
        self.0.open(local)
    }

    fn close(&mut self, port: PortId) {
        self.0.close(port);
    }
}

impl PacketIo for Broken {
    /// Breaks at the first wake-up.
    fn poll(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.0.poll(wait)?;
        Err(io::Error::other("the ring is broken"))
    }

    fn receive(&mut self) -> Option<Received> {
        self.0.receive()
    }

    fn payload(&self, frame: &Frame) -> &[u8] {
        self.0.payload(frame)
    }

    fn payload_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.0.payload_mut(frame)
    }

    fn fresh(&mut self, payload: &[u8]) -> Option<Frame> {
        self.0.fresh(payload)
    }

    fn send(&mut self, frame: Frame, port: PortId, to: SocketAddr) {
        self.0.send(frame, port, to);
    }

    fn release(&mut self, frame: Frame) {
        self.0.release(frame);
    }

    fn waker(&self) -> Waker {
        self.0.waker()
    }

    fn counters(&self) -> &IoCounters {
        self.0.counters()
    }

    fn frames(&self) -> FrameAccount {
        self.0.frames()
    }

    fn local_address(&self, port: PortId) -> Option<SocketAddr> {
        self.0.local_address(port)
    }
}

#[tokio::test]
async fn a_worker_that_breaks_or_cannot_start_is_told_with_the_reason() {
    let (bell, _listener) = Bell::new().expect("a pipe");
    let clock = MonotonicClock::start();
    let wire = Wire::new().expect("an eventfd");
    let build = move || Simulated::new(&IoConfig::default(), wire).map(Broken);
    let handle = worker::start(plan(0, &bell, clock, [4, 4]), build).expect("starts");
    handle.rings.waker.wake();
    let error = within(handle.ended).await.expect("no panic").expect_err("broken");
    assert_eq!(error.to_string(), "the ring is broken");

    let build = || -> io::Result<Simulated> { Err(io::Error::other("refused by the kernel")) };
    let error = worker::start(plan(0, &bell, clock, [4, 4]), build).expect_err("not started");
    assert_eq!(error.to_string(), "refused by the kernel");

    let build = || -> io::Result<Simulated> { panic!("a bug") };
    let error = worker::start(plan(0, &bell, clock, [4, 4]), build).expect_err("not started");
    assert_eq!(error.to_string(), "the worker's thread ended while it started");
}

#[tokio::test]
async fn a_command_to_a_worker_that_breaks_does_not_wait_for_ever() {
    let (bell, listener) = Bell::new().expect("a pipe");
    let clock = MonotonicClock::start();
    let wire = Wire::new().expect("an eventfd");
    let build = move || Simulated::new(&IoConfig::default(), wire).map(Broken);
    let lane = lane(
        worker::start(plan(0, &bell, clock, [4, 4]), build).expect("starts"),
        4,
    );
    let node = Arc::new(Node::new(
        identity(),
        clock,
        vec![lane],
        vec![10],
        64,
        MEMORY,
        Journal::off(),
    ));
    let listening = node.clone();
    tokio::spawn(async move { listening.listen(listener).await });
    let refusal = within(node.create(key("k"), spec("c", Duration::ZERO))).await;
    assert_eq!(refusal.map(|report| report.id.clone()), Err(Refusal::Busy));
    until(|| node.calls() == 0).await;
    assert_eq!(node.lanes()[0].queue_length(), 0);
}
