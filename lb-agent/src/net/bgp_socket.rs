//! TCP as BGP wants it: signed (RFC 2385), from a chosen address, by a chosen
//! device, with the TTL that peers who check it expect (RFC 5082).
#![expect(
    unsafe_code,
    reason = "neither socket2 nor nix knows the options TCP_MD5SIG and IP_MINTTL"
)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _};

use lb_core::bgp::Endpoints;
use lb_core::config::Password;
use nix::ifaddrs::getifaddrs;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::discovery_socket;

/// What the kernel takes (`TCP_MD5SIG_MAXKEYLEN`), in bytes.
const KEY_MAX: usize = 80;
/// `struct tcp_md5sig` of linux/tcp.h: address, flags, prefix length, length of
/// the key, device, key.
const MD5SIG_LEN: usize = 128 + 1 + 1 + 2 + 4 + KEY_MAX;
/// Peers that check it want what only their own link can send.
const TTL: u32 = 255;
const BACKLOG: u32 = 64;

/// Where to connect to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    pub remote: SocketAddr,
    pub source: Option<IpAddr>,
    /// A VRF, or a link.
    pub device: Option<String>,
    pub password: Option<Password>,
    /// Packets of the peer with a smaller TTL do not count (RFC 5082).
    pub least_ttl: Option<u8>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("{0}")]
    Connect(#[source] io::Error),
    #[error("cannot make a socket")]
    Socket(#[source] io::Error),
    #[error("sourceAddress {0} is no address of this node")]
    Source(IpAddr, #[source] io::Error),
    #[error("there is no device {0} (vrf)")]
    Device(String, #[source] io::Error),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the kernel does not check the TTL of what comes in")]
    LeastTtl(#[source] io::Error),
}

/// Why a password cannot be used. There is no session without it then.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("the password is longer than the {KEY_MAX} bytes that TCP MD5 can have")]
    TooLong,
    #[error("the kernel does not take the password (TCP MD5)")]
    Kernel(#[source] io::Error),
}

/// Connects; whoever calls sets a time limit.
pub async fn dial(dial: &Dial) -> Result<TcpStream, DialError> {
    let socket = new_socket(dial.remote.ip()).map_err(DialError::Socket)?;
    if let Some(device) = &dial.device {
        let bound = socket.bind_device(Some(device.as_bytes()));
        bound.map_err(|error| DialError::Device(device.clone(), error))?;
    }
    if let Some(source) = dial.source {
        let bound = socket.bind(&SocketAddr::new(source, 0).into());
        bound.map_err(|error| DialError::Source(source, error))?;
    }
    if let Some(password) = &dial.password {
        sign(&socket, dial.remote.ip(), Some(password))?;
    }
    if dial.least_ttl.is_some() {
        let checked = require_ttl(&socket, dial.remote.ip(), dial.least_ttl);
        checked.map_err(DialError::LeastTtl)?;
    }
    let socket = TcpSocket::from_std_stream(socket.into());
    let connected = socket.connect(dial.remote).await;
    connected.map_err(DialError::Connect)
}

/// Listens for peers of one family.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address.ip())?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    TcpSocket::from_std_stream(socket.into()).listen(BACKLOG)
}

fn new_socket(remote: IpAddr) -> io::Result<Socket> {
    let address = SocketAddr::new(remote, 0);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if remote.is_ipv4() {
        socket.set_ttl_v4(TTL)?;
    } else {
        socket.set_unicast_hops_v6(TTL)?;
    }
    Ok(socket)
}

/// Segments from and to `remote` are signed with the password; none: no longer.
pub fn sign(
    socket: &impl AsFd,
    remote: IpAddr,
    password: Option<&Password>,
) -> Result<(), PasswordError> {
    let key = password.map_or(&[][..], |password| password.reveal().as_bytes());
    let option = md5sig(remote, key).ok_or(PasswordError::TooLong)?;
    let set = set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option);
    set.map_err(PasswordError::Kernel)
}

/// Segments that come with a smaller TTL or hop limit are dropped, before they
/// are looked at; none: any counts. For a socket that listens, that is said of
/// whoever begins to connect.
pub fn require_ttl(socket: &impl AsFd, remote: IpAddr, least: Option<u8>) -> io::Result<()> {
    let (level, name) = match remote {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MINTTL),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    let least = i32::from(least.unwrap_or_default());
    set(socket, level, name, &least.to_ne_bytes())
}

fn set(socket: &impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the value is as long as is said, and lives until the call ends.
    let done = unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), length) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// None if the key is too long.
fn md5sig(remote: IpAddr, key: &[u8]) -> Option<[u8; MD5SIG_LEN]> {
    let mut option = [0; MD5SIG_LEN];
    let mut put = |at: usize, bytes: &[u8]| {
        let place = option.get_mut(at..at + bytes.len())?;
        place.copy_from_slice(bytes);
        Some(())
    };
    // `sockaddr_in`, `sockaddr_in6`: family, port, then the address.
    match remote {
        IpAddr::V4(v4) => {
            put(0, &u16::try_from(libc::AF_INET).ok()?.to_ne_bytes())?;
            put(4, &v4.octets())?;
        }
        IpAddr::V6(v6) => {
            put(0, &u16::try_from(libc::AF_INET6).ok()?.to_ne_bytes())?;
            put(8, &v6.octets())?;
        }
    }
    if key.len() > KEY_MAX {
        return None;
    }
    put(130, &u16::try_from(key.len()).ok()?.to_ne_bytes())?;
    put(136, key)?;
    Some(option)
}

/// The ends of a connection, and what else this node has on that device.
pub fn endpoints(stream: &TcpStream) -> io::Result<Endpoints> {
    let local = stream.local_addr()?.ip().to_canonical();
    let remote = stream.peer_addr()?.ip().to_canonical();
    let all: Vec<_> = getifaddrs()?
        .filter_map(|entry| {
            let address = entry.address.and_then(|address| ip_of(&address))?;
            let mask = entry.netmask.and_then(|mask| ip_of(&mask));
            Some((entry.interface_name, address, mask))
        })
        .collect();
    // An address that holds on one link only may be on others, too.
    let device = scope(stream.local_addr()?).and_then(discovery_socket::name_of);
    let device = device.or_else(|| {
        let device = all.iter().find(|(_, address, _)| *address == local);
        device.map(|(name, ..)| name.clone())
    });
    let on_device = || {
        let same = |name: &String| Some(name) == device.as_ref();
        all.iter().filter(move |(name, ..)| same(name))
    };
    let v4 = on_device().find_map(|(_, address, _)| match address {
        IpAddr::V4(v4) if !v4.is_loopback() => Some(*v4),
        _ => None,
    });
    let v6s = on_device().filter_map(|(_, address, _)| match address {
        IpAddr::V6(v6) if !v6.is_loopback() => Some(*v6),
        _ => None,
    });
    let is_near = on_device().any(|(_, address, mask)| {
        mask.is_some_and(|mask| *address == local && same_net(local, remote, mask))
    });
    let link_local = v6s.clone().find(Ipv6Addr::is_unicast_link_local);
    Ok(Endpoints {
        local,
        remote,
        v4,
        v6: v6s.clone().find(|v6| !v6.is_unicast_link_local()),
        link_local: link_local.filter(|_| is_near),
    })
}

/// The number of the link that an address holds on.
const fn scope(address: SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id()),
        _ => None,
    }
}

pub(super) fn ip_of(address: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

pub(super) fn same_net(one: IpAddr, other: IpAddr, mask: IpAddr) -> bool {
    match (one, other, mask) {
        (IpAddr::V4(one), IpAddr::V4(other), IpAddr::V4(mask)) => {
            let bits = |address: Ipv4Addr| address.to_bits() & mask.to_bits();
            bits(one) == bits(other)
        }
        (IpAddr::V6(one), IpAddr::V6(other), IpAddr::V6(mask)) => {
            let bits = |address: Ipv6Addr| address.to_bits() & mask.to_bits();
            bits(one) == bits(other)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn password(text: &str) -> Option<Password> {
        Some(Password::new(text.to_owned()))
    }

    fn to(remote: SocketAddr, password: Option<Password>) -> Dial {
        Dial {
            remote,
            source: None,
            device: None,
            password,
            least_ttl: None,
        }
    }

    /// Nothing answers within that: generous where an answer is awaited.
    const SILENCE: Duration = Duration::from_millis(300);

    async fn is_silent<T>(attempt: impl Future<Output = T>) -> bool {
        tokio::time::timeout(SILENCE, attempt).await.is_err()
    }

    #[tokio::test]
    async fn only_whoever_has_the_password_connects() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        sign(&listener, address.ip(), password("secret").as_ref()).unwrap();
        let stream = dial(&to(address, password("secret"))).await.unwrap();
        let ends = endpoints(&stream).unwrap();
        assert_eq!((ends.local, ends.remote), (address.ip(), address.ip()));
        assert_eq!((ends.v4, ends.link_local), (None, None));
        drop(listener.accept().await.unwrap());
        // Nothing answers one who has another or none.
        for other in [password("other"), None] {
            let dial = to(address, other);
            assert!(is_silent(super::dial(&dial)).await, "{dial:?}");
        }
    }

    /// Linux sends 64 where nobody asks for more, as routers send 1.
    #[tokio::test]
    async fn whoever_may_be_far_away_is_not_heard_where_the_ttl_is_checked() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let local: SocketAddr = local.parse().unwrap();
            let near = listen(local).unwrap();
            let address = near.local_addr().unwrap();
            require_ttl(&near, address.ip(), Some(255)).unwrap();
            let checking = |remote| Dial {
                least_ttl: Some(255),
                ..to(remote, None)
            };
            // Both of this side send 255, and both check it.
            let stream = dial(&checking(address)).await.unwrap();
            drop(stream);
            let far = TcpStream::connect(address);
            assert!(is_silent(far).await, "{local}: a SYN with 64 is not heard");
            let listener = TcpListener::bind(local).await.unwrap();
            let other = listener.local_addr().unwrap();
            let checked = checking(other);
            assert!(
                is_silent(dial(&checked)).await,
                "{local}: nor an answer with 64"
            );
            assert!(dial(&to(other, None)).await.is_ok(), "{local}: unchecked");
            require_ttl(&near, address.ip(), None).unwrap();
            assert!(TcpStream::connect(address).await.is_ok(), "{local}");
        }
    }

    /// Every kernel has lo; VRFs are devices, which this one may not be able to
    /// make.
    #[tokio::test]
    async fn a_vrf_that_is_not_there_is_said() {
        let nowhere = "127.0.0.1:1".parse().unwrap();
        let by = |device: &str| Dial {
            device: Some(device.to_owned()),
            ..to(nowhere, None)
        };
        let text = crate::errors::one_line(&dial(&by("blue")).await.unwrap_err());
        assert_eq!(
            text,
            "there is no device blue (vrf): No such device (os error 19)"
        );
        let refused = dial(&by("lo")).await.unwrap_err();
        assert!(matches!(refused, DialError::Connect(_)), "{refused}");
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_said() {
        let nowhere = "127.0.0.1:1".parse().unwrap();
        let long = dial(&to(nowhere, password(&"x".repeat(81)))).await;
        assert!(long.unwrap_err().to_string().contains("80 bytes"));
        let source = Dial {
            source: Some("192.0.2.77".parse().unwrap()),
            ..to(nowhere, None)
        };
        let text = dial(&source).await.unwrap_err().to_string();
        assert_eq!(text, "sourceAddress 192.0.2.77 is no address of this node");
        let refused = dial(&to(nowhere, None)).await.unwrap_err().to_string();
        assert!(refused.starts_with("Connection refused"), "{refused}");
    }
}
