//! Set-up time, measured by a caller and a callee of our own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::anyhow;
use hdrhistogram::Histogram;

use crate::relay::bed;
use crate::sip_load::callee::Callee;
use crate::sip_load::dialog::{Dialog, bind};
use crate::wait;

/// Between two calls.
const REST: Duration = Duration::from_millis(3);
/// A call to a number of this prefix goes to the probe's callee.
pub const PREFIX: &str = "2";
/// One of them.
pub const NUMBER: &str = "2000";

/// Set-up times from INVITE sent to 200 received, in microseconds.
#[derive(Debug)]
pub struct Times {
    /// Through the server.
    pub through: Histogram<u64>,
    /// To the callee without a server, in turns with them.
    pub direct: Histogram<u64>,
    /// Calls that were not answered, or did not end, in time.
    pub failed: u64,
}

impl Times {
    /// What the server adds at a quantile, in milliseconds: the difference of both sides' quantiles.
    pub fn added_ms(&self, quantile: f64) -> f64 {
        let at = |times: &Histogram<u64>| times.value_at_quantile(quantile) as f64;
        (at(&self.through) - at(&self.direct)) / 1_000.0
    }
}

/// A caller and a callee that make calls until they are told to stop, in two threads on one core.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<AtomicBool>,
    caller: JoinHandle<anyhow::Result<Times>>,
    callee: Callee,
}

impl Probe {
    /// Starts both at their addresses, for calls through `server` and, in turns with them, straight to the callee.
    pub fn start([caller, callee]: [SocketAddr; 2], server: SocketAddr, core: usize) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let calling = bind(caller)?;
        let answering = Callee::start(callee, core)?;
        let caller = std::thread::Builder::new()
            .name("probe-caller".into())
            .spawn(move || make_calls(&calling, [server, callee], core, &told))?;
        Ok(Self {
            stop,
            caller,
            callee: answering,
        })
    }

    /// Ends both, who answers after who calls.
    pub fn finish(self) -> anyhow::Result<Times> {
        self.stop.store(true, Ordering::Relaxed);
        let times = self
            .caller
            .join()
            .map_err(|_| anyhow!("the probe's caller panicked"))?;
        self.callee.finish()?;
        times
    }
}

fn make_calls(
    socket: &UdpSocket,
    [server, callee]: [SocketAddr; 2],
    core: usize,
    stop: &AtomicBool,
) -> anyhow::Result<Times> {
    bed::pin(None, core)?;
    let mut times = Times {
        through: Histogram::new(3)?,
        direct: Histogram::new(3)?,
        failed: 0,
    };
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for (target, histogram) in [(server, &mut times.through), (callee, &mut times.direct)] {
            number += 1;
            match call(socket, target, number)? {
                Some(took) => histogram.saturating_record(took.as_micros() as u64),
                None => times.failed += 1,
            }
            wait::pass(REST);
        }
    }
    Ok(times)
}

/// One call: its set-up time. `None` when it was not answered, or did not end, in time.
fn call(socket: &UdpSocket, target: SocketAddr, number: u64) -> anyhow::Result<Option<Duration>> {
    let Some((mut dialog, took)) = Dialog::set_up(socket, target, NUMBER, number)? else {
        return Ok(None);
    };
    let ended = dialog.request(socket, target, "BYE")?;
    Ok(ended.map(|_| took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::relay::privilege::allowed_cores;

    #[test]
    fn calls_straight_to_the_callee_take_some_time_and_add_nothing() {
        let mut host = Host::reserve().unwrap();
        let [caller, callee] = [host.address().unwrap(), host.address().unwrap()];
        let probe = Probe::start([caller, callee], callee, allowed_cores().unwrap()[0]).unwrap();
        wait::pass(Duration::from_millis(300));
        let times = probe.finish().unwrap();
        assert_eq!(times.failed, 0);
        assert!(times.through.len() > 2 && times.through.min() > 0, "{times:?}");
        assert_eq!(times.through.len(), times.direct.len());
    }
}
