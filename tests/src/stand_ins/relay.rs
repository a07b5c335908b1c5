//! A network path that can be cut: connections stay open, and nothing arrives until it is mended, as between
//! two machines whose switch fails. What was sent meanwhile arrives late.

use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// A relay of TCP connections.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    gate: Arc<Gate>,
}

/// Whether something passes.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_cut: bool,
    is_over: bool,
}

impl Gate {
    /// Waits until something may pass; whether that is ever again.
    fn pass(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.changed.wait_while(state, |state| state.is_cut && !state.is_over);
        !waiting.unwrap_or_else(PoisonError::into_inner).is_over
    }

    fn is_on(&self) -> bool {
        !self.state.lock().unwrap_or_else(PoisonError::into_inner).is_over
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl Relay {
    /// Relays to this address, which may be served later.
    ///
    /// # Errors
    /// There is no port to listen at.
    pub(crate) fn start(to: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, gate) = (listener.local_addr()?, Arc::<Gate>::default());
        let passing = Arc::clone(&gate);
        thread::spawn(move || {
            for accepted in listener.incoming() {
                let (gate, to) = (Arc::clone(&passing), to.clone());
                match accepted {
                    // One that is made while the path is cut waits for its first byte.
                    Ok(stream) if gate.is_on() => drop(thread::spawn(move || {
                        // Either side may leave at any time.
                        let _ = join(stream, &to, &gate);
                    })),
                    _ => return,
                }
            }
        });
        Ok(Self { address, gate })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing pass.
    pub(crate) fn cut(&self) {
        self.gate.change(|state| state.is_cut = true);
    }

    /// Lets everything pass.
    pub(crate) fn mend(&self) {
        self.gate.change(|state| state.is_cut = false);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.gate.change(|state| state.is_over = true);
        // Wakes who waits for a connection, and fails only if it has ended.
        let _ = TcpStream::connect(self.address);
    }
}

fn join(client: TcpStream, to: &str, gate: &Arc<Gate>) -> Result<()> {
    if !gate.pass() {
        return Ok(());
    }
    let server = TcpStream::connect(to)?;
    let (reading, writing) = (client.try_clone()?, server.try_clone()?);
    let there = Arc::clone(gate);
    let copying = thread::spawn(move || copy(reading, writing, &there));
    copy(server, client, gate);
    // It panics nowhere.
    let _ = copying.join();
    Ok(())
}

/// Copies until one of them ends, and ends the other.
fn copy(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let part = buffer.get(..count).unwrap_or_default();
        if !gate.pass() || to.write_all(part).is_err() {
            break;
        }
    }
    // Who has ended already is not there to be told.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_sent_while_it_is_cut_arrives_once_it_is_mended() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay::start(server.local_addr().unwrap().to_string()).unwrap();
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let (mut served, _) = server.accept().unwrap();
        let mut byte = [0];
        client.write_all(b"a").unwrap();
        served.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");
        relay.cut();
        client.write_all(b"b").unwrap();
        served.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(served.read_exact(&mut byte).is_err());
        served.set_read_timeout(None).unwrap();
        relay.mend();
        served.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
        drop(client);
        assert_eq!(served.read(&mut byte).unwrap(), 0);
    }
}
