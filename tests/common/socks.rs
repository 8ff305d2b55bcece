//! A SOCKS5 proxy (RFC 1928 and RFC 1929) over plain threads that notes whom it is to connect to.
//!
//! Whatever it is asked for, it connects to the one server that it was made for.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running proxy. Its threads end when their clients are gone, and at the latest with the process.
pub(crate) struct Socks {
    pub(crate) address: SocketAddr,
    targets: Arc<Mutex<Vec<String>>>,
}

/// The name and the password that are asked for, if any are.
type Login = Option<(&'static str, &'static str)>;

impl Socks {
    /// A proxy before `server`.
    pub(crate) fn before(server: SocketAddr, login: Login) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("it is bound");
        let targets = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&targets);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let noted = Arc::clone(&noted);
                thread::spawn(move || {
                    // Whatever ends a conversation, it has ended.
                    let _: io::Result<()> = converse(client, server, login, &noted);
                });
            }
        });
        Self { address, targets }
    }

    /// The hosts and ports that were asked for so far.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.targets.lock().expect("no panic under it").clone()
    }
}

fn converse(
    mut client: TcpStream,
    server: SocketAddr,
    login: Login,
    noted: &Mutex<Vec<String>>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let [_version, methods] = take(&mut client)?;
    let methods = take_all(&mut client, methods.into())?;
    let method = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return client.write_all(&[5, 0xff]);
    }
    client.write_all(&[5, method])?;
    if let Some((username, password)) = login {
        let [_version, length] = take(&mut client)?;
        let name = take_all(&mut client, length.into())?;
        let [length] = take(&mut client)?;
        let word = take_all(&mut client, length.into())?;
        let good = name == username.as_bytes() && word == password.as_bytes();
        client.write_all(&[1, u8::from(!good)])?;
        if !good {
            return Ok(());
        }
    }
    let [_version, _connect, _reserved, kind] = take(&mut client)?;
    let host = match kind {
        1 => Ipv4Addr::from(take::<4>(&mut client)?).to_string(),
        4 => Ipv6Addr::from(take::<16>(&mut client)?).to_string(),
        _ => {
            let [length] = take(&mut client)?;
            String::from_utf8_lossy(&take_all(&mut client, length.into())?).into_owned()
        }
    };
    let port = u16::from_be_bytes(take(&mut client)?);
    noted
        .lock()
        .expect("no panic under it")
        .push(format!("{host}:{port}"));
    let mut server = TcpStream::connect(server)?;
    server.set_nodelay(true)?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(std::net::Shutdown::Write)
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

fn take<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn take_all(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
