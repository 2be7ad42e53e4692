package wire

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"rtcfleet.dev/e2e/cluster/internal/host"
	"rtcfleet.dev/e2e/cluster/internal/topology"
)

// queueLength bounds the packets on their way in one direction. It is a second of 1500-byte packets
// at 240 Mbit/s.
const queueLength = 20_000

// A cable's packets have at most this many bytes: one of 1500 and its Ethernet header.
const frameSize = 2048

// A link that is down refuses packets; it is looked at again after this.
const linkDownPause = 20 * time.Millisecond

// device is one end that packets are read from and written to.
type device struct {
	name string
	file int
}

// Run passes packets between a node's cable and the bridge until the context ends. Restore comes
// afterwards: a process that is killed could not do it.
func Run(ctx context.Context, node topology.Node, impairment Impairment) error {
	offloads, err := openOffloads(node)
	if err != nil {
		return err
	}
	// A packet that is not cut to size and has no checksum yet would be passed on as it is.
	if err := offloads.set(false); err != nil {
		return err
	}
	tap, err := openTap(node)
	if err != nil {
		return err
	}
	cable, err := openCable(node)
	if err != nil {
		return err
	}
	if err := host.RunAll(ctx, insertion(node)); err != nil {
		return err
	}
	log.Printf("%s: %s", node.Name, impairment)
	for _, direction := range [][2]device{{tap, cable}, {cable, tap}} {
		way := &line{impairment: impairment, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
		go pass(direction[0], direction[1], way)
	}
	<-ctx.Done()
	return nil
}

// Restore plugs a cable into the bridge directly again. The TAP went with the process that held it.
func Restore(ctx context.Context, node topology.Node) error {
	if err := host.RunAll(ctx, removal(node)); err != nil {
		return err
	}
	offloads, err := openOffloads(node)
	if err != nil {
		return err
	}
	return offloads.set(true)
}

// TapName is the link that stands in for the node's cable on the bridge.
func TapName(node topology.Node) string { return fmt.Sprintf("rtct%d", node.Number) }

// insertion puts the TAP into the cable's place on the bridge. The cable must not answer address
// requests for the machine by itself, now that it is a link like any other.
func insertion(node topology.Node) []host.Command {
	return []host.Command{
		host.Cmd("ip", "link", "set", node.HostLink(), "nomaster", "arp", "off"),
		host.Cmd("ip", "link", "set", TapName(node), "master", topology.Bridge, "txqueuelen", "10000", "up"),
	}
}

func removal(node topology.Node) []host.Command {
	return []host.Command{host.Cmd("ip", "link", "set", node.HostLink(), "master", topology.Bridge, "arp", "on")}
}

// pass reads packets from one device and has them written to the other when they arrive.
func pass(from, to device, way *line) {
	onTheWay := newQueue(queueLength)
	go deliver(onTheWay, to)
	buffer := make([]byte, frameSize)
	for {
		size, err := unix.Read(from.file, buffer)
		if err != nil {
			retry(from, err)
			continue
		}
		arrives, lost := way.offer(time.Now())
		if !lost {
			onTheWay.push(packet{bytes: append([]byte(nil), buffer[:size]...), arrives: arrives})
		}
	}
}

func deliver(onTheWay *queue, to device) {
	for {
		if _, err := unix.Write(to.file, onTheWay.pop().bytes); err != nil {
			retry(to, err)
		}
	}
}

// retry waits where a link is down, which is how a lost region is made; anything else is an error
// that the supervisor may start over from.
func retry(end device, err error) {
	switch {
	case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.EIO):
		time.Sleep(linkDownPause)
	default:
		log.Fatalf("%s: %v", end.name, err)
	}
}

func openTap(node topology.Node) (device, error) {
	name := TapName(node)
	file, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return device{}, fmt.Errorf("/dev/net/tun: %w: the kernel needs TUN/TAP for a bad network (CONFIG_TUN)", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return device{}, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(file, unix.TUNSETIFF, request); err != nil {
		return device{}, fmt.Errorf("%s: %w", name, err)
	}
	return device{name: name, file: file}, nil
}

func openCable(node topology.Node) (device, error) {
	name := node.HostLink()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return device{}, err
	}
	// Protocol 0: nothing is received before the socket is bound to its link.
	file, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return device{}, err
	}
	if err := unix.IoctlIfreq(file, unix.SIOCGIFINDEX, request); err != nil {
		return device{}, fmt.Errorf("%s: %w: run `rtc-cluster up`", name, err)
	}
	const everything = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8 // in network order
	address := &unix.SockaddrLinklayer{Protocol: everything, Ifindex: int(request.Uint32())}
	if err := unix.Bind(file, address); err != nil {
		return device{}, fmt.Errorf("%s: %w", name, err)
	}
	// Packets that this process itself sends out must not come back in.
	if err := unix.SetsockoptInt(file, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return device{}, fmt.Errorf("%s: PACKET_IGNORE_OUTGOING: %w", name, err)
	}
	const receiveBuffer = 8 << 20
	if err := unix.SetsockoptInt(file, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
		return device{}, fmt.Errorf("%s: SO_RCVBUFFORCE: %w", name, err)
	}
	return device{name: name, file: file}, nil
}

// inNetns runs a function in a network namespace; sockets that it opens stay there.
func inNetns(path string, do func() error) error {
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	target, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := unix.Setns(target, unix.CLONE_NEWNET); err != nil {
		return err
	}
	done := do()
	if err := unix.Setns(own, unix.CLONE_NEWNET); err != nil {
		return err // the thread stays locked, and is thrown away with its goroutine
	}
	runtime.UnlockOSThread()
	return done
}
