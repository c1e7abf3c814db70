//! Asks the world's DNS server once, to know that it answers.

use std::net::{IpAddr, SocketAddr};

use tokio::net::UdpSocket;

use crate::limits;

/// The name asked for. Every name has the same answer.
const QUESTION: &[u8] = b"\x05probe\x07invalid\x00";

/// Whether `server` answers an A query, with `expected` where that is an IPv4 address.
pub(super) async fn answers(server: SocketAddr, expected: IpAddr) -> std::io::Result<bool> {
    // RFC 1035 section 4.1: identifier, recursion desired, one question of type A, class IN.
    let mut query = vec![0x50, 0x52, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(QUESTION);
    query.extend_from_slice(&[0, 1, 0, 1]);
    let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).await?;
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut answer = [0; 512];
    let Ok(length) = tokio::time::timeout(limits::CA_POLL_ANSWER, socket.recv(&mut answer)).await else {
        return Ok(false);
    };
    let answer = &answer[..length?];
    Ok(match expected {
        // Its data after the question: length and address.
        IpAddr::V4(address) => {
            let data = [&[0, 4], &address.octets()[..]].concat();
            answer.get(query.len()..).is_some_and(|rest| rest.windows(data.len()).any(|w| w == data))
        }
        IpAddr::V6(_) => answer.len() >= query.len(),
    })
}
