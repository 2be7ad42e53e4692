// Command turnclient calls through a TURN relay with pion's client. It reads one JSON object (task) on standard input,
// and writes one (verdict) on standard output. A call without a number of packets writes a line before, once its first
// packet has come back. What goes wrong is told on standard error, with exit code 1.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// task is what to do.
type task struct {
	// Server is the relay's address, with port.
	Server string `json:"server"`
	// Transport is udp, tcp or tls.
	Transport string `json:"transport"`
	// Authority is a PEM file: the relay's certificate must be from it, and for Name. For tls only.
	Authority string `json:"authority"`
	Name      string `json:"name"`
	// Secret and User make the credentials.
	Secret string `json:"secret"`
	User   string `json:"user"`
	// Realm is what the relay must say that it is.
	Realm string `json:"realm"`
	// Peer is the address, with port, of somebody who sends each packet back.
	Peer string `json:"peer"`
	// Packets are sent every 20 ms: this many, or, if 0, until standard input ends after the task.
	Packets int `json:"packets"`
}

// verdict is what came of it.
type verdict struct {
	// Relayed is the address that peers see.
	Relayed string `json:"relayed"`
	// Sent and Received count packets: to the peer, and back from it.
	Sent     int `json:"sent"`
	Received int `json:"received"`
	// Lifetime is what a refresh in mid-call was answered with, in seconds.
	Lifetime uint32 `json:"lifetime"`
	// Serial is that of the relay's certificate, in hexadecimal. For tls only.
	Serial string `json:"serial,omitempty"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "turnclient:", err)
		os.Exit(1)
	}
}

func run(input io.Reader, output io.Writer) error {
	var task task
	decoder := json.NewDecoder(input)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&task); err != nil {
		return fmt.Errorf("the task: %w", err)
	}
	var end chan struct{}
	if task.Packets == 0 {
		end = make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, input) // However it ends, it has ended.
			close(end)
		}()
	}
	running := func() {
		if end != nil {
			fmt.Fprintln(output, "running")
		}
	}
	verdict, err := perform(task, running, end)
	if err != nil {
		return err
	}
	return json.NewEncoder(output).Encode(verdict)
}
