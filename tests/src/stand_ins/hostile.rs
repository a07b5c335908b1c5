//! A hostile HTTP server; the path selects its behaviour.
//!
//! | path | response |
//! |---|---|
//! | `/drip` | one byte every 50 ms, forever |
//! | `/silent` | none |
//! | `/endless` | an endless body; `/endless/gzip` claims it is compressed |
//! | `/bomb` | a small body that unpacks to 10 MiB |
//! | `/redirect` | a redirect to the cloud metadata address |
//! | any other | 200 |

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Maximum number of recorded requests.
const REQUESTS_MAX: usize = 1_000;
/// Maximum size of a request head.
const HEAD_MAX_BYTES: usize = 64 * 1024;
const DRIP: Duration = Duration::from_millis(50);
/// Read timeout for a silent client.
const SILENCE: Duration = Duration::from_secs(5);

/// Size of the bomb when unpacked.
const BOMB_UNPACKED_BYTES: usize = 10 * 1024 * 1024;

/// A running server.
#[derive(Debug)]
pub struct Hostile {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hostile {
    /// Starts the server.
    ///
    /// # Errors
    /// No port or thread is available.
    pub fn start() -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for a hostile server")?;
        let address = listener.local_addr()?;
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (kept, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let thread = thread::Builder::new().name("hostile-server".into()).spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (kept, stopped) = (Arc::clone(&kept), Arc::clone(&stopped));
                let Ok(stream) = stream else { continue };
                // Clients that disconnect are expected; the thread ends with the connection.
                thread::spawn(move || drop(serve(stream, &kept, &stopped)));
            }
        })?;
        Ok(Self { address, requests, stop, thread: Some(thread) })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The heads of the requests since the last time.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Unblocks `accept`.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    kept: &Mutex<Vec<String>>,
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let head = read_head(&mut stream)?;
    {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < REQUESTS_MAX {
            kept.push(head.clone());
        }
    }
    match head.split(' ').nth(1).unwrap_or_default() {
        "/drip" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(DRIP);
                stream.write_all(b"x")?;
            }
            Ok(())
        }
        // Returns when the client closes the connection or the read times out.
        "/silent" => stream.read(&mut [0; 1]).map(drop),
        "/endless" => endless(&stream, "", stopped),
        "/endless/gzip" => endless(&stream, "content-encoding: gzip\r\n", stopped),
        "/bomb" => {
            let bomb = bomb();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                bomb.len()
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&bomb)
        }
        "/redirect" => stream.write_all(
            b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data/\r\n\
              content-length: 0\r\n\r\n",
        ),
        _ => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
    }
}

fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") && bytes.len() < HEAD_MAX_BYTES {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn endless(mut stream: &TcpStream, header: &str, stopped: &AtomicBool) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\n{header}\r\n").as_bytes())?;
    while !stopped.load(Ordering::Relaxed) {
        stream.write_all(&[b'x'; 16 * 1024])?;
    }
    Ok(())
}

/// A gzip file of zeros. The trailing checksum is wrong: clients must stop before it.
fn bomb() -> Vec<u8> {
    let mut bits = Bits::default();
    // A final block with fixed codes: one zero, then copies of length 258.
    bits.put(0b1, 1);
    bits.put(0b01, 2);
    // The literal 0 has the code 00110000, the length 258 has 11000101 (symbol 285), the distance 1
    // has 00000, the end 0000000. Codes are written with their highest bit first.
    bits.put_code(0b0011_0000, 8);
    for _ in 0..BOMB_UNPACKED_BYTES / 258 {
        bits.put_code(0b1100_0101, 8);
        bits.put_code(0, 5);
    }
    bits.put_code(0, 7);
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    file.extend(bits.bytes);
    file.extend([0; 8]);
    file
}

/// A bit buffer; the first bit is a byte's lowest.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, bits: u32, count: u32) {
        for place in 0..count {
            let bit = u8::from(bits >> place & 1 == 1);
            match self.bytes.last_mut() {
                Some(last) if self.used > 0 => *last |= bit << self.used,
                _ => self.bytes.push(bit),
            }
            self.used = (self.used + 1) % 8;
        }
    }

    fn put_code(&mut self, code: u32, count: u32) {
        for place in (0..count).rev() {
            self.put(code >> place & 1, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;

    #[test]
    fn it_answers_what_is_harmless_and_keeps_what_it_was_asked() {
        let server = Hostile::start().unwrap();
        let client = Client::new(server.url());
        assert_eq!(client.get("/any").unwrap().text(), "hi");
        assert_eq!(client.get("/redirect").unwrap().status, 302);
        let heads = server.take_requests();
        assert!(heads[0].starts_with("GET /any HTTP/1.1\r\n"), "{heads:?}");
        assert_eq!((heads.len(), server.take_requests().len()), (2, 0));
    }

    #[test]
    fn the_bomb_is_small() {
        let bomb = bomb();
        assert!(bomb.len() < 100 * 1024, "{}", bomb.len());
        // 13 bits each for a length and its distance, 18 for the rest.
        let bits = BOMB_UNPACKED_BYTES / 258 * 13 + 3 + 8 + 7;
        assert_eq!(bomb.len(), 10 + bits.div_ceil(8) + 8);
    }
}
