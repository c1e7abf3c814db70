//! Two hosts joined by one cable: the subject's network namespace and the CA's, with a veth pair
//! between them and no route to anywhere else.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    thread,
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, setns, unshare};

/// Address of the CA's host. The namespaces are private, so it can be the same in every world.
pub const CA: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Address of the subject's host.
pub const SUBJECT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Length of the network's prefix.
const PREFIX: u8 = 24;
/// Name of the interface on both hosts, as on any small server.
const INTERFACE: &str = "eth0";
/// The loopback interface is the first of every network namespace.
const LOOPBACK: u32 = 1;

/// Makes the calling process's network namespace the subject's host and a second one the CA's.
/// Returns the second one.
///
/// # Errors
/// What the kernel refused.
pub fn build() -> io::Result<OwnedFd> {
    let ca = in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(OwnedFd::from(File::open("/proc/thread-self/ns/net")?))
    })?;
    let mut here = Link::open()?;
    here.up(LOOPBACK)?;
    here.veth(&ca)?;
    configure(&mut here, SUBJECT)?;
    let namespace = ca.try_clone()?;
    in_thread(move || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        let mut there = Link::open()?;
        there.up(LOOPBACK)?;
        configure(&mut there, CA)
    })?;
    Ok(ca)
}

/// Runs `work` on a thread of its own, so that the namespaces it enters end with it.
fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|_| Err(io::Error::other("the network thread panicked")))
    })
}

fn configure(link: &mut Link, address: Ipv4Addr) -> io::Result<()> {
    // IPv6 stays on the loopback alone: no neighbour discovery, no second way in. The file is
    // missing where the kernel has no IPv6.
    let file = format!("/proc/sys/net/ipv6/conf/{INTERFACE}/disable_ipv6");
    if let Err(error) = std::fs::write(file, "1")
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!("IPv6 stays enabled on {INTERFACE}: {error}");
    }
    let index = nix::net::if_::if_nametoindex(INTERFACE)?;
    link.address(index, address)?;
    link.up(index)
}

/// A netlink socket that waits for each answer.
struct Link {
    socket: Socket,
    sequence: u32,
}

impl Link {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    fn veth(&mut self, peer_namespace: &OwnedFd) -> io::Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(INTERFACE.to_string()));
        peer.attributes.push(LinkAttribute::NetNsFd(peer_namespace.as_raw_fd()));
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(INTERFACE.to_string()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.ask(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|error| told("making a veth pair", &error))
    }

    fn up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::SetLink(message), 0).map_err(|error| told("setting a link up", &error))
    }

    fn address(&mut self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = PREFIX;
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(address)));
        message.attributes.push(AddressAttribute::Address(IpAddr::V4(address)));
        self.ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|error| told("setting an address", &error))
    }

    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
            .map_err(|error| io::Error::other(error.to_string()))?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    }
}

fn told(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
