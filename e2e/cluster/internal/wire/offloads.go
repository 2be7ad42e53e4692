package wire

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"rtcfleet.dev/e2e/cluster/internal/topology"
)

// offloads are what a node leaves to its network card: cutting large packets, and checksums. A
// cable between namespaces has no card and passes such packets whole, so that one lost packet would
// be forty.
type offloads struct{ socket int }

// Commands of linux/ethtool.h. Checksums come first when they are switched on, because the others
// need them.
var ethtoolSettings = []struct {
	name string
	set  uint32
}{
	{"checksums", 0x17}, // ETHTOOL_STXCSUM
	{"scatter-gather", 0x19},
	{"TCP segmentation", 0x1f},
	{"generic segmentation", 0x24},
}

const nodeLink = "eth0"

// openOffloads opens a socket in the node's namespace, by which its link is set up.
func openOffloads(node topology.Node) (offloads, error) {
	socket := -1
	err := inNetns(node.NetnsPath(), func() (err error) {
		socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return offloads{}, fmt.Errorf("%s: %w", node.NetnsPath(), err)
	}
	return offloads{socket: socket}, nil
}

// set switches them all, and closes the socket.
func (o offloads) set(on bool) error {
	defer unix.Close(o.socket)
	type value struct{ command, data uint32 }
	type request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is a union; the kernel copies all of it
	}
	for _, setting := range ethtoolSettings {
		argument := value{command: setting.set}
		if on {
			argument.data = 1
		}
		call := request{data: unsafe.Pointer(&argument)}
		copy(call.name[:], nodeLink)
		_, _, code := unix.Syscall(unix.SYS_IOCTL, uintptr(o.socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&call)))
		// A setting that the link does not have is fine.
		if code != 0 && !errors.Is(code, unix.EOPNOTSUPP) {
			return fmt.Errorf("%s: %s: %w", nodeLink, setting.name, code)
		}
	}
	return nil
}
