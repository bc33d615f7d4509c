// Differential is a plain gRPC client that plays scripts: one behaviour as JSON a line in, one
// observation a line out. It is the Go counterpart of ../../../differential/client.py.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
)

// behaviour is what behaviours.py writes.
type behaviour struct {
	Name      string            `json:"name"`
	Method    string            `json:"method"`
	Server    json.RawMessage   `json:"server"`
	Client    []json.RawMessage `json:"client"`
	Metadata  [][2]string       `json:"metadata"`
	Timeout   float64           `json:"timeout"`
	Compress  bool              `json:"compress"`
	Authority string            `json:"authority"`
}

type observation struct {
	Events  []any   `json:"events"`
	Seconds float64 `json:"seconds"`
}

func main() {
	server := flag.String("server", "", "the address of the gateway, or of the server itself")
	target := flag.String("target", "", "the agent to reach, sent as x-tunnel-target with every call")
	flag.Parse()
	if err := run(*server, *target); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(server, target string) error {
	if server == "" {
		return errors.New("-server is required")
	}
	channels := map[string]*grpc.ClientConn{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked behaviour
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		channel, err := channelOf(channels, server, asked.Authority)
		if err != nil {
			return err
		}
		begun := time.Now()
		events, err := play(channel, &asked, target)
		if err != nil {
			return fmt.Errorf("%s: %w", asked.Name, err)
		}
		if err := answers.Encode(observation{events, time.Since(begun).Seconds()}); err != nil {
			return err
		}
	}
	return lines.Err()
}

func channelOf(channels map[string]*grpc.ClientConn, server, authority string) (*grpc.ClientConn, error) {
	if channel, found := channels[authority]; found {
		return channel, nil
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithMaxHeaderListSize(1 << 20),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodec(raw{}),
			grpc.MaxCallRecvMsgSize(1<<26),
			grpc.MaxCallSendMsgSize(1<<26),
		),
	}
	if authority != "" {
		options = append(options, grpc.WithAuthority(authority))
	}
	channel, err := grpc.NewClient("passthrough:///"+server, options...)
	channels[authority] = channel
	return channel, err
}

// raw is the codec of messages that are bytes already.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) ([]byte, error) {
	bytes, ok := message.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("%T is not bytes", message)
	}
	return *bytes, nil
}

func (raw) Unmarshal(data []byte, message any) error {
	bytes, ok := message.(*[]byte)
	if !ok {
		return fmt.Errorf("%T is not bytes", message)
	}
	*bytes = append([]byte{}, data...)
	return nil
}
