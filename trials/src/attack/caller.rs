//! A caller of a block server that may do anything: bytes go out and come in as the attack has it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use common::hash::NetworkId;
use common::time::Timestamp;
use common::wire::{Hello, MAX_FRAME_BYTES, Request, encode_frame};
use socket2::{Domain, Socket, Type};

use crate::program::PATIENCE;

/// An address of this machine that no honest program uses; the numbers may go up to 65,000.
pub fn stranger(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 66, 0, 1).to_bits() + number)
}

/// An open connection.
pub struct Caller {
    stream: TcpStream,
}

impl Caller {
    /// Calls from one of this machine's addresses.
    pub fn call(from: Ipv4Addr, place: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&place.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// Calls, hears the server's hello and says its own.
    pub fn greeted(from: Ipv4Addr, place: SocketAddr) -> io::Result<Self> {
        let mut caller = Self::call(from, place)?;
        let hello = caller.hello()?;
        caller.send(&own_hello(&hello))?;
        Ok(caller)
    }

    /// The server's hello.
    pub fn hello(&mut self) -> io::Result<Hello> {
        Hello::from_frame(&self.frame()?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request.
    pub fn ask(&mut self, request: &Request) -> io::Result<()> {
        self.send(&encode_frame(request))
    }

    /// The same, given up after this time.
    pub fn ask_within(&mut self, request: &Request, within: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(within))?;
        self.ask(request)
    }

    /// The same connection, to write and read at a time.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()? })
    }

    /// The next frame, its length taken off.
    pub fn frame(&mut self) -> io::Result<Vec<u8>> {
        let length = u32::from_le_bytes(self.bytes(4)?.try_into().expect("they are four")) as usize;
        assert!(length <= MAX_FRAME_BYTES, "the server announces {length} bytes");
        self.bytes(length)
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Everything that comes until the server ends the connection, however it does; that has to be within this
    /// time.
    pub fn until_closed(mut self, within: Duration) -> io::Result<Vec<u8>> {
        self.stream.set_read_timeout(Some(within))?;
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(bytes),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(bytes),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The frame of the hello that answers the server's.
pub fn own_hello(server: &Hello) -> Vec<u8> {
    encode_frame(&Hello::of_caller(server, "attack", Timestamp::from_system_clock()))
}

/// The length of a miner's hello, with the four bytes before it: what a caller may get before its own.
pub fn hello_bytes(place: SocketAddr, network: NetworkId) -> usize {
    let mut caller = Caller::call(Ipv4Addr::LOCALHOST, place).expect("there is room for a caller");
    let hello = caller.hello().expect("whoever calls is greeted");
    assert_eq!(hello.network, network);
    encode_frame(&hello).len()
}
