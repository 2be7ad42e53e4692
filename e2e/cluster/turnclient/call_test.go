package main

import (
	"encoding/json"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/pion/turn/v5"
)

const secret, realm = "a secret", "turn.example.org"

// relay is pion's own server, on one port over UDP and TCP.
func relay(t *testing.T) string {
	t.Helper()
	packets, streams := sockets(t)
	generator := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	server, err := turn.NewServer(turn.ServerConfig{
		Realm:             realm,
		AuthHandler:       turn.LongTermTURNRESTAuthHandler(secret, nil),
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: packets, RelayAddressGenerator: generator}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: streams, RelayAddressGenerator: generator}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return packets.LocalAddr().String()
}

// sockets have one port. The kernel gives one that is free for UDP, where TCP may have a connection of somebody else: that
// one is held until another has been found.
func sockets(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp4", packets.LocalAddr().String())
	if errors.Is(err, syscall.EADDRINUSE) {
		defer packets.Close()
		return sockets(t)
	}
	if err != nil {
		t.Fatal(err)
	}
	return packets, streams
}

// peer sends back every packet whose number, from 1, holds.
func peer(t *testing.T, holds func(number int) bool) string {
	t.Helper()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() {
		buffer := make([]byte, 2048)
		for number := 1; ; number++ {
			length, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if holds(number) {
				_, _ = socket.WriteTo(buffer[:length], from)
			}
		}
	}()
	return socket.LocalAddr().String()
}

func every(int) bool { return true }

func TestACallOverEachTransportIsWholeAndGivesItsAllocationBack(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		told, err := perform(task{
			Server: relay(t), Transport: transport, Secret: secret, User: "one", Realm: realm,
			Peer: peer(t, every), Packets: 7,
		}, func() {}, nil)
		if err != nil {
			t.Fatalf("%s: %v", transport, err)
		}
		if told.Sent != 7 || told.Received != 7 || told.Lifetime == 0 {
			t.Errorf("%s: %+v", transport, told)
		}
	}
}

func TestAPacketThatDoesNotComeBackIsCounted(t *testing.T) {
	told, err := perform(task{
		Server: relay(t), Transport: "udp", Secret: secret, User: "one", Realm: realm,
		Peer: peer(t, func(number int) bool { return number != 3 }), Packets: 5,
	}, func() {}, nil)
	if err != nil || told.Sent != 5 || told.Received != 4 {
		t.Errorf("%+v, %v", told, err)
	}
}

func TestACallWithoutANumberOfPacketsLastsUntilTheInputEnds(t *testing.T) {
	text, err := json.Marshal(task{
		Server: relay(t), Transport: "tcp", Secret: secret, User: "one", Realm: realm, Peer: peer(t, every),
	})
	if err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	if err := run(strings.NewReader(string(text)), &output); err != nil {
		t.Fatal(err)
	}
	var told verdict
	line, rest, _ := strings.Cut(output.String(), "\n")
	if err := json.Unmarshal([]byte(rest), &told); line != "running" || err != nil {
		t.Fatalf("%s: %v", output.String(), err)
	}
	if told.Sent == 0 || told.Sent != told.Received {
		t.Errorf("%+v", told)
	}
}

func TestAnotherRealmThanTheOneThatIsMeantFails(t *testing.T) {
	_, err := perform(task{
		Server: relay(t), Transport: "udp", Secret: secret, User: "one", Realm: "elsewhere", Peer: peer(t, every), Packets: 1,
	}, func() {}, nil)
	if err == nil || !strings.Contains(err.Error(), `the realm is "turn.example.org" instead of "elsewhere"`) {
		t.Errorf("%v", err)
	}
}

func TestAWrongSecretFailsAtTheAllocation(t *testing.T) {
	_, err := perform(task{
		Server: relay(t), Transport: "tcp", Secret: "another", User: "one", Realm: realm, Peer: peer(t, every), Packets: 1,
	}, func() {}, nil)
	if err == nil || !strings.Contains(err.Error(), "allocating:") {
		t.Errorf("%v", err)
	}
}
