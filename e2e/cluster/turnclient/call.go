package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
)

const (
	pace = 20 * time.Millisecond
	// A call that is not ended from outside ends by itself.
	longest = 5 * time.Minute
	// How late a packet may come back.
	latest = 3 * time.Second
	// Of the credentials, and what refreshes ask for.
	hour = time.Hour
)

// perform allocates, lets the peer in, exchanges packets until their number is reached or end is closed, refreshes in
// between, and gives the allocation back. It calls running when packets come back.
func perform(task task, running func(), end <-chan struct{}) (verdict, error) {
	var told verdict
	peer, err := net.ResolveUDPAddr("udp", task.Peer)
	if err != nil {
		return told, fmt.Errorf("peer: %w", err)
	}
	packets, serial, err := dial(task)
	if err != nil {
		return told, fmt.Errorf("connecting to %s/%s: %w", task.Transport, task.Server, err)
	}
	defer packets.Close()
	told.Serial = serial

	username, password, err := turn.GenerateLongTermTURNRESTCredentials(task.Secret, task.User, hour)
	if err != nil {
		return told, err
	}
	family := turn.RequestedAddressFamilyIPv4
	if peer.IP.To4() == nil {
		family = turn.RequestedAddressFamilyIPv6
	}
	client, err := turn.NewClient(&turn.ClientConfig{
		TURNServerAddr: task.Server, STUNServerAddr: task.Server,
		Username: username, Password: password, Conn: packets, RequestedAddressFamily: family,
	})
	if err != nil {
		return told, err
	}
	defer client.Close()
	if err := client.Listen(); err != nil {
		return told, err
	}
	relay, err := client.Allocate()
	if err != nil {
		return told, fmt.Errorf("allocating: %w", err)
	}
	defer relay.Close()
	if realm := client.Realm().String(); realm != task.Realm {
		return told, fmt.Errorf("the realm is %q instead of %q", realm, task.Realm)
	}
	told.Relayed = relay.LocalAddr().String()
	if err := client.CreatePermission(peer); err != nil {
		return told, fmt.Errorf("permitting %s: %w", peer, err)
	}

	half := max(task.Packets/2, 1)
	exchange := newExchange(relay, peer)
	if err := exchange.run(half, nil); err != nil {
		return told, err
	}
	if _, received := exchange.wait(1); received == 0 {
		return told, fmt.Errorf("of %d packets none came back within %s", half, latest)
	}
	running()
	lifetime, code, err := refresh(client, username, password, uint32(hour.Seconds()))
	if err != nil {
		return told, err
	}
	if code != 0 {
		return told, fmt.Errorf("a refresh in mid-call is refused with %d", code)
	}
	told.Lifetime = lifetime
	if err := exchange.run(task.Packets-half, end); err != nil {
		return told, err
	}
	told.Sent, told.Received = exchange.wait(exchange.sent)

	if _, code, err := refresh(client, username, password, 0); err != nil {
		return told, err
	} else if code != 0 {
		return told, fmt.Errorf("giving the allocation back is refused with %d", code)
	}
	return told, nil
}

// exchange counts numbered packets there and back.
type exchange struct {
	relay net.PacketConn
	peer  net.Addr
	sent  int
	back  atomic.Int64
}

func newExchange(relay net.PacketConn, peer net.Addr) *exchange {
	exchange := &exchange{relay: relay, peer: peer}
	go exchange.receive()
	return exchange
}

// run sends this many packets more, or, if end is given, until it is closed.
func (e *exchange) run(count int, end <-chan struct{}) error {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	timeout := time.After(longest)
	for count > 0 || end != nil {
		select {
		case <-ticker.C:
			number := binary.BigEndian.AppendUint64(nil, uint64(e.sent))
			if _, err := e.relay.WriteTo(number, e.peer); err != nil {
				return fmt.Errorf("packet %d: %w", e.sent, err)
			}
			e.sent++
			count--
			if count == 0 {
				return nil
			}
		case <-end:
			return nil
		case <-timeout:
			return fmt.Errorf("a call may last %s", longest)
		}
	}
	return nil
}

// receive counts each number once, in whatever order they come, until the relay is closed.
func (e *exchange) receive() {
	seen := map[uint64]bool{}
	buffer := make([]byte, 2048)
	for {
		length, from, err := e.relay.ReadFrom(buffer)
		if err != nil {
			return
		}
		if length != 8 || from.String() != e.peer.String() {
			continue
		}
		if number := binary.BigEndian.Uint64(buffer); !seen[number] {
			seen[number] = true
			e.back.Add(1)
		}
	}
}

// wait waits until this many have come back, or it is late, and gives what was sent and what came back.
func (e *exchange) wait(count int) (sent, received int) {
	for end := time.Now().Add(latest); e.back.Load() < int64(count) && time.Now().Before(end); {
		time.Sleep(pace)
	}
	return e.sent, int(e.back.Load())
}

// refresh asks for a lifetime in seconds and gives what is granted, or the error code of a refusal. The first request has
// no credentials: the relay's challenge tells the nonce.
func refresh(client *turn.Client, username, password string, lifetime uint32) (uint32, int, error) {
	kind := stun.NewType(stun.MethodRefresh, stun.ClassRequest)
	wanted := stun.RawAttribute{Type: stun.AttrLifetime, Value: binary.BigEndian.AppendUint32(nil, lifetime)}
	challenge, err := ask(client, stun.TransactionID, kind, wanted)
	if err != nil {
		return 0, 0, err
	}
	var nonce stun.Nonce
	var realm stun.Realm
	if err := challenge.Parse(&nonce, &realm); err != nil {
		return 0, 0, fmt.Errorf("a refresh without credentials is not challenged: %s: %w", challenge, err)
	}
	integrity := stun.NewLongTermIntegrity(username, realm.String(), password)
	answer, err := ask(client, stun.TransactionID, kind, wanted, stun.NewUsername(username), realm, nonce, integrity)
	if err != nil {
		return 0, 0, err
	}
	var code stun.ErrorCodeAttribute
	if code.GetFrom(answer) == nil {
		return 0, int(code.Code), nil
	}
	granted, err := answer.Get(stun.AttrLifetime)
	if err != nil || len(granted) != 4 {
		return 0, 0, fmt.Errorf("a refresh is answered without a lifetime: %s", answer)
	}
	return binary.BigEndian.Uint32(granted), 0, nil
}

func ask(client *turn.Client, parts ...stun.Setter) (*stun.Message, error) {
	request, err := stun.Build(parts...)
	if err != nil {
		return nil, err
	}
	result, err := client.PerformTransaction(request, client.TURNServerAddr(), false)
	if err != nil {
		return nil, fmt.Errorf("refreshing: %w", err)
	}
	return result.Msg, nil
}
