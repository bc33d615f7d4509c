package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	defaultMethod = "/grpctunnel.differential.Script/Play"
	patience      = 15 * time.Second
	// Longer messages are written down by their digest alone.
	shown = 100_000
	// No behaviour sends more messages.
	maxRequests = 2048
)

type call struct {
	stream   grpc.ClientStream
	cancel   context.CancelFunc
	requests chan []byte
	closed   bool
	ended    bool
	events   []any
}

func play(channel *grpc.ClientConn, asked *behaviour, target string) ([]any, error) {
	timeout := patience
	if asked.Timeout != 0 {
		timeout = time.Duration(asked.Timeout * float64(time.Second))
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ctx, err := withMetadata(ctx, asked, target)
	if err != nil {
		return nil, err
	}
	method := asked.Method
	if method == "" {
		method = defaultMethod
	}
	var options []grpc.CallOption
	if asked.Compress {
		options = append(options, grpc.UseCompressor("gzip"))
	}
	description := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	stream, err := channel.NewStream(ctx, description, method, options...)
	if err != nil {
		// What the library refuses locally is an observation, too.
		return []any{ended(err, nil)}, nil
	}
	c := &call{stream: stream, cancel: cancel, requests: make(chan []byte, maxRequests)}
	go c.pump()
	defer c.halfClose()
	for _, step := range asked.Client {
		if err := c.step(step); err != nil {
			return nil, err
		}
	}
	return c.events, nil
}

func withMetadata(ctx context.Context, asked *behaviour, target string) (context.Context, error) {
	pairs := []string{"x-script", string(asked.Server)}
	for _, pair := range asked.Metadata {
		value := pair[1]
		if strings.HasSuffix(pair[0], "-bin") {
			decoded, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return nil, err
			}
			value = string(decoded)
		}
		pairs = append(pairs, pair[0], value)
	}
	if target != "" {
		pairs = append(pairs, "x-tunnel-target", target)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...), nil
}

// pump sends what the script has said, in the pace of the other side.
func (c *call) pump() {
	for message := range c.requests {
		if c.stream.SendMsg(&message) != nil {
			// RecvMsg says why.
			return
		}
	}
	c.stream.CloseSend()
}

func (c *call) halfClose() {
	if !c.closed {
		c.closed = true
		close(c.requests)
	}
}

func (c *call) step(step json.RawMessage) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(step, &parts); err != nil {
		return err
	}
	var name string
	if err := json.Unmarshal(parts[0], &name); err != nil {
		return err
	}
	number := func(place int, otherwise float64) float64 {
		if place < len(parts) {
			json.Unmarshal(parts[place], &otherwise)
		}
		return otherwise
	}
	switch name {
	case "send":
		for seed := range int(number(2, 1)) {
			c.requests <- payload(int(number(1, 0)), uint32(seed))
		}
	case "half_close":
		c.halfClose()
	case "head":
		c.head()
	case "recv":
		for range int(number(1, 1)) {
			c.receive()
		}
	case "all":
		for !c.ended {
			c.receive()
		}
	case "sleep":
		time.Sleep(time.Duration(number(1, 0) * float64(time.Second)))
	case "cancel":
		c.cancel()
	default:
		return fmt.Errorf("no step is called %q", name)
	}
	return nil
}

func (c *call) head() {
	header, _ := c.stream.Header()
	c.events = append(c.events, []any{"head", pairs(header)})
}

func (c *call) receive() {
	if c.ended {
		return
	}
	var message []byte
	if err := c.stream.RecvMsg(&message); err != nil {
		c.head()
		c.ended = true
		c.events = append(c.events, ended(err, c.stream.Trailer()))
		return
	}
	text := ""
	if len(message) < shown {
		text = latin1(message)
	}
	digest := fmt.Sprintf("%d:%08x", len(message), crc32.ChecksumIEEE(message))
	c.events = append(c.events, []any{"message", digest, text})
}

func ended(err error, trailer metadata.MD) []any {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	end, _ := status.FromError(err)
	if err == nil {
		end = status.New(0, "")
	}
	details, _ := proto.MarshalOptions{Deterministic: true}.Marshal(end.Proto())
	return []any{"end", end.Code(), end.Message(), base64.StdEncoding.EncodeToString(details), pairs(trailer)}
}

// pairs is metadata as JSON holds it, by key and in the order of its values.
func pairs(md metadata.MD) [][2]string {
	found := [][2]string{}
	for key, values := range md {
		for _, value := range values {
			if strings.HasSuffix(key, "-bin") {
				value = base64.StdEncoding.EncodeToString([]byte(value))
			}
			found = append(found, [2]string{key, value})
		}
	}
	sort.SliceStable(found, func(a, b int) bool { return found[a][0] < found[b][0] })
	return found
}

func latin1(bytes []byte) string {
	runes := make([]rune, len(bytes))
	for place, byte := range bytes {
		runes[place] = rune(byte)
	}
	return string(runes)
}

// payload makes the bytes that script.py makes.
func payload(size int, seed uint32) []byte {
	made := make([]byte, 0, size+4)
	for word := uint32(0); len(made) < size; word = (word + 1) % 257 {
		mixed := word*2654435761 + seed
		made = append(made, byte(mixed>>24), byte(mixed>>16), byte(mixed>>8), byte(mixed))
	}
	return made[:size]
}
