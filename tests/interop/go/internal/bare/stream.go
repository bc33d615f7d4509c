// Package bare carries the tunnels of the Go module over a bare stream of bytes: every frame is one
// length-prefixed message, and the flag byte of its prefix says which tunnel it belongs to. The
// module does not know: it gets a grpc.ClientConnInterface at the end that opens the connection, and
// a grpc.ServerStream at the end that accepts it.
package bare

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jhump/grpctunnel/tunnelpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// The flag bytes of the two tunnels.
const (
	Forward = 0
	Reverse = 2
)

const (
	prefixLen = 5
	maxFrame  = 4 << 20
	// How long the other end may take to end its direction after we have ended ours.
	grace = 5 * time.Second
)

// The ends of a stream negotiate by configuration, so the header is always there.
func negotiated() metadata.MD {
	return metadata.Pairs("grpctunnel-negotiate", "on")
}

// stream is one direction's tunnel on a connection. The module sends and receives under locks of its
// own.
type stream struct {
	conn  *net.TCPConn
	flag  byte
	ctx   context.Context
	ended chan struct{}
	err   error
}

func newStream(ctx context.Context, conn *net.TCPConn, flag byte) *stream {
	// Without this, a read does not end when its context does.
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return &stream{conn: conn, flag: flag, ctx: ctx, ended: make(chan struct{})}
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) SendMsg(message any) error {
	frame := make([]byte, prefixLen)
	frame, err := proto.MarshalOptions{}.MarshalAppend(frame, message.(proto.Message))
	if err != nil {
		return err
	}
	frame[0] = s.flag
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-prefixLen))
	_, err = s.conn.Write(frame)
	return err
}

func (s *stream) RecvMsg(message any) error {
	err := s.recv(message.(proto.Message))
	if err != nil && s.err == nil {
		s.err = err
		close(s.ended)
	}
	return err
}

func (s *stream) recv(message proto.Message) error {
	if s.err != nil {
		return s.err
	}
	var prefix [prefixLen]byte
	// io.EOF is the end between two frames.
	if _, err := io.ReadFull(s.conn, prefix[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(prefix[1:])
	if prefix[0] != s.flag || length > maxFrame {
		return fmt.Errorf("a frame with flag %d and %d bytes; the flag is to be %d", prefix[0], length, s.flag)
	}
	frame := make([]byte, length)
	if _, err := io.ReadFull(s.conn, frame); err != nil {
		return err
	}
	return proto.Unmarshal(frame, message)
}

// finish ends our direction, and waits until the other end has ended its own.
func (s *stream) finish() error {
	defer func() { _ = s.conn.Close() }()
	_ = s.conn.CloseWrite()
	select {
	case <-s.ended:
		if !errors.Is(s.err, io.EOF) {
			return fmt.Errorf("the connection broke: %w", s.err)
		}
		return nil
	case <-time.After(grace):
		return errors.New("the other end does not finish")
	}
}

// Conn is the end that opened a connection.
type Conn struct {
	conn   *net.TCPConn
	stream *stream
}

// Dial opens a connection.
func Dial(addr string) (*Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: conn.(*net.TCPConn)}, nil
}

// NewStream opens the connection's one tunnel.
func (c *Conn) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	flag, ok := map[string]byte{
		tunnelpb.TunnelService_OpenTunnel_FullMethodName:        Forward,
		tunnelpb.TunnelService_OpenReverseTunnel_FullMethodName: Reverse,
	}[method]
	if !ok || c.stream != nil {
		return nil, fmt.Errorf("%s cannot be opened here", method)
	}
	c.stream = newStream(ctx, c.conn, flag)
	return clientStream{c.stream}, nil
}

// Invoke fails: there is nothing but the tunnel.
func (c *Conn) Invoke(_ context.Context, method string, _, _ any, _ ...grpc.CallOption) error {
	return fmt.Errorf("%s: a bare stream carries tunnels only", method)
}

// Finish ends the connection in order.
func (c *Conn) Finish() error {
	return c.stream.finish()
}

type clientStream struct{ *stream }

func (clientStream) Header() (metadata.MD, error) { return negotiated(), nil }
func (clientStream) Trailer() metadata.MD         { return nil }
func (s clientStream) CloseSend() error           { return s.conn.CloseWrite() }

type serverStream struct{ *stream }

func (serverStream) SetHeader(metadata.MD) error  { return nil }
func (serverStream) SendHeader(metadata.MD) error { return nil }
func (serverStream) SetTrailer(metadata.MD)       {}

// Serve is the end that accepts one connection. It lets the module handle the tunnel of that
// direction, then ends the connection in order.
func Serve(ctx context.Context, lis net.Listener, flag byte, service tunnelpb.TunnelServiceServer) error {
	conn, err := lis.Accept()
	if err != nil {
		return err
	}
	stream := newStream(metadata.NewIncomingContext(ctx, negotiated()), conn.(*net.TCPConn), flag)
	name := "OpenTunnel"
	if flag == Reverse {
		name = "OpenReverseTunnel"
	}
	for _, desc := range tunnelpb.TunnelService_ServiceDesc.Streams {
		if desc.StreamName != name {
			continue
		}
		if err := desc.Handler(service, serverStream{stream}); err != nil {
			_ = conn.Close()
			return err
		}
		return stream.finish()
	}
	return fmt.Errorf("the module has no %s", name)
}
