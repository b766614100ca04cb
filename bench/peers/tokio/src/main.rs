//! The contenders "tokio", with the buffers of 8 KiB that it comes with, and "tokio-256k", after ../../README.md:
//! Framed with a LengthDelimitedCodec on the current-thread runtime.

use std::error::Error;
use std::time::Instant;
use std::{env, fs, io, process};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::codec::{Decoder, Framed, LengthDelimitedCodec};

const LIMIT: usize = 16 << 20;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the arguments say, besides the work.
struct Setting {
    capacity: Option<usize>,
    endpoint: Endpoint,
    rest: Vec<String>,
}

enum Endpoint {
    Tcp(u16),
    Unix(String),
}

impl Setting {
    fn framed<S: AsyncRead + AsyncWrite>(&self, stream: S) -> Framed<S, LengthDelimitedCodec> {
        match self.capacity {
            Some(capacity) => Framed::with_capacity(stream, codec(), capacity),
            None => Framed::new(stream, codec()),
        }
    }

    fn number(&self, place: usize) -> Outcome<u64> {
        Ok(self
            .rest
            .get(place)
            .ok_or("an argument is missing")?
            .parse()?)
    }
}

/// Lengths of four bytes, big endian, are its default.
fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(LIMIT)
        .new_codec()
}

/// What was done since the clock started.
struct Tally {
    frames: u64,
    bytes: u64,
    cpu: f64,
    wall: Instant,
}

impl Tally {
    fn start() -> Tally {
        Tally {
            frames: 0,
            bytes: 0,
            wall: Instant::now(),
            cpu: cpu_seconds(),
        }
    }

    fn add(&mut self, payload: &[u8]) {
        self.frames += 1;
        self.bytes += payload.len() as u64;
    }

    fn report(&self, crc: u32) -> String {
        let cpu = cpu_seconds() - self.cpu;
        let wall = self.wall.elapsed().as_secs_f64();
        let (frames, bytes) = (self.frames, self.bytes);
        format!(
            r#"{{"crc": {crc}, "frames": {frames}, "bytes": {bytes}, "cpu": {cpu:.9}, "wall": {wall:.9}}}"#
        )
    }
}

fn cpu_seconds() -> f64 {
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut used) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(used.ru_utime) + seconds(used.ru_stime)
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut value, mut bit) = (at as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ 0xEDB8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

/// zlib's CRC-32, to be begun with 0.
fn crc32(crc: u32, data: &[u8]) -> u32 {
    !data.iter().fold(!crc, |crc, byte| {
        CRC_TABLE[(crc as u8 ^ byte) as usize] ^ crc >> 8
    })
}

async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    setting: &Setting,
) -> Outcome<String> {
    let (warm, frames) = (setting.number(0)?, setting.number(1)?);
    let mut framed = setting.framed(stream);
    let mut crc = 0;
    for _ in 0..warm {
        let payload = framed.next().await.ok_or("the stream ended too early")??;
        crc = crc32(crc, &payload);
    }
    let mut tally = Tally::start();
    while let Some(payload) = framed.next().await {
        tally.add(&payload?);
    }
    let report = tally.report(crc);
    if tally.frames < frames {
        return Err("the stream ended too early".into());
    }
    Ok(report)
}

fn payloads_in(path: &str) -> Outcome<Vec<Bytes>> {
    let mut rest = BytesMut::from(&fs::read(path)?[..]);
    let mut payloads = Vec::new();
    let mut codec = codec();
    while let Some(payload) = codec.decode(&mut rest)? {
        payloads.push(payload.freeze());
    }
    if rest.has_remaining() || payloads.is_empty() {
        return Err(format!("{path} doesn't hold whole frames").into());
    }
    Ok(payloads)
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(stream: S, setting: &Setting) -> Outcome<String> {
    let payloads = payloads_in(setting.rest.first().ok_or("FILE is missing")?)?;
    let (warm, frames, batch) = (
        setting.number(1)?,
        setting.number(2)?,
        setting.number(3)?.max(1),
    );
    let mut framed = setting.framed(stream);
    let mut ring = payloads.iter().cycle();
    let mut tally = Tally::start();
    for count in [warm, frames] {
        tally = Tally::start();
        while tally.frames < count {
            if batch == 1 {
                let payload = ring.next().unwrap();
                framed.send(payload.clone()).await?;
                tally.add(payload);
                continue;
            }
            for payload in ring.by_ref().take(batch.min(count - tally.frames) as usize) {
                framed.feed(payload.clone()).await?;
                tally.add(payload);
            }
            SinkExt::<Bytes>::flush(&mut framed).await?;
        }
    }
    let report = tally.report(0);
    SinkExt::<Bytes>::close(&mut framed).await?;
    Ok(report)
}

/// Sends frames back; flushes once for all that had come.
async fn echo<S: AsyncRead + AsyncWrite>(framed: Framed<S, LengthDelimitedCodec>) {
    let (sink, stream) = framed.split();
    let payloads = stream.map(|payload| payload.map(BytesMut::freeze));
    if let Err(error) = payloads.forward(sink).await {
        eprintln!("a client: {error}");
    }
}

async fn serve(setting: &Setting) -> Outcome<()> {
    match &setting.endpoint {
        Endpoint::Tcp(port) => {
            let listener = TcpListener::bind(("127.0.0.1", *port)).await?;
            println!("ready");
            loop {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                tokio::spawn(echo(setting.framed(stream)));
            }
        }
        Endpoint::Unix(path) => {
            let listener = UnixListener::bind(path)?;
            println!("ready");
            loop {
                tokio::spawn(echo(setting.framed(listener.accept().await?.0)));
            }
        }
    }
}

async fn run(work: &str, setting: &Setting) -> Outcome<()> {
    if work == "echo" {
        return serve(setting).await;
    }
    let report = match (work, &setting.endpoint) {
        ("receive", Endpoint::Tcp(port)) => receive(connected(*port).await?, setting).await?,
        ("receive", Endpoint::Unix(path)) => {
            receive(UnixStream::connect(path).await?, setting).await?
        }
        ("send", Endpoint::Tcp(port)) => send(connected(*port).await?, setting).await?,
        ("send", Endpoint::Unix(path)) => send(UnixStream::connect(path).await?, setting).await?,
        _ => return Err(format!("no such work: {work}").into()),
    };
    println!("{report}");
    Ok(())
}

async fn connected(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn started() -> Outcome<()> {
    let mut arguments = env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("usage: peer NAME receive|send|echo ENDPOINT ARGUMENT...")
    };
    let capacity = match next()?.as_str() {
        "tokio" => None,
        "tokio-256k" => Some(256 << 10),
        name => return Err(format!("no such contender: {name}").into()),
    };
    let (work, place) = (next()?, next()?);
    let endpoint = match place.split_once(':') {
        Some(("tcp", port)) => Endpoint::Tcp(port.parse()?),
        Some(("unix", path)) => Endpoint::Unix(path.into()),
        _ => return Err(format!("no such endpoint: {place}").into()),
    };
    let setting = Setting {
        capacity,
        endpoint,
        rest: arguments.collect(),
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(run(&work, &setting))
}

fn main() {
    if let Err(error) = started() {
        eprintln!("{error}");
        process::exit(1);
    }
}
