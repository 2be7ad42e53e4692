//! One UDP socket for thousands of addresses: 127.0.0.0/8 is all local, so that each client and each peer has an address
//! of its own, and none needs a socket of its own. Sends with `UDP_SEGMENT`, receives with `recvmmsg` and `UDP_GRO`.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::SockRef;

/// Bytes between the buffers of a batch. One takes the largest datagram, or the largest run of them; the odd rest keeps
/// the beginnings of all buffers from sharing a few sets of the cache.
const STRIDE: usize = 65_536 + 1_344;
/// Asked for in each direction, so that the loader is never the one that drops.
const BUFFER: usize = 64 << 20;

pub struct Socket {
    inner: UdpSocket,
    state: UdpSocketState,
    buffers: Box<[u8]>,
    metas: Box<[RecvMeta; BATCH_SIZE]>,
}

impl Socket {
    /// On all addresses.
    pub fn open(port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let socket = UdpSocket::bind(address).with_context(|| format!("{address} cannot be opened"))?;
        let state = UdpSocketState::new((&socket).into())?;
        // Time stamps of the kernel, once asked for by anybody, are made for every packet of every socket.
        setsockopt(&socket, sockopt::ReceiveTimestampns, &false)?;
        SockRef::from(&socket).set_recv_tos_v4(false)?;
        // Without the right to force it, the kernel gives `rmem_max`.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::SndBuf, &BUFFER)?;
        }
        let buffers = vec![0; BATCH_SIZE * STRIDE].into_boxed_slice();
        Ok(Self { inner: socket, state, buffers, metas: Box::new([RecvMeta::default(); BATCH_SIZE]) })
    }

    /// Sends `contents` as datagrams of `segment` bytes, as one for the kernel. False: it takes no more now.
    pub fn send(&self, from: Ipv4Addr, to: SocketAddr, contents: &[u8], segment: usize) -> io::Result<bool> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size: (segment < contents.len()).then_some(segment),
            src_ip: Some(IpAddr::V4(from)),
        };
        match self.state.try_send((&self.inner).into(), &transmit) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes one batch: `each(from, to, datagram)`. Zero: nothing waits.
    pub fn receive(&mut self, mut each: impl FnMut(SocketAddr, Ipv4Addr, &[u8])) -> io::Result<usize> {
        let mut chunks = self.buffers.chunks_exact_mut(STRIDE);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let count = match self.state.recv((&self.inner).into(), &mut slices, self.metas.as_mut_slice()) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => 0,
            Err(error) => return Err(error),
        };
        let mut datagrams = 0;
        for (meta, slice) in self.metas.iter().zip(&slices).take(count) {
            let Some(IpAddr::V4(to)) = meta.dst_ip else { continue };
            for datagram in slice[..meta.len].chunks(meta.stride.max(1)) {
                datagrams += 1;
                each(meta.addr, to, datagram);
            }
        }
        Ok(datagrams)
    }
}
