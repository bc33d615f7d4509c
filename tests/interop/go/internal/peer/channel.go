package peer

import (
	"context"
	"fmt"

	"github.com/jhump/grpctunnel"
	"github.com/jhump/grpctunnel/tunnelpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Dial makes a plain connection, which is established by the first call on it.
func Dial(addr string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr,
		append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

// TunnelOptions are the options of the Go module for a tunnel with or without flow control.
func TunnelOptions(noFlowControl bool) []grpctunnel.TunnelOption {
	if noFlowControl {
		return []grpctunnel.TunnelOption{grpctunnel.WithDisableFlowControl()}
	}
	return nil
}

// Open makes a channel for calls to a server: "forward" through a tunnel, "direct" without one.
// The function that it returns ends the channel.
func Open(ctx context.Context, addr, kind string, noFlowControl bool) (grpc.ClientConnInterface, func(), error) {
	conn, err := Dial(addr, grpc.WithStreamInterceptor(OnHeaders(func() {})))
	if err != nil {
		return nil, nil, err
	}
	switch kind {
	case "direct":
		return conn, func() { _ = conn.Close() }, nil
	case "forward":
		pending := grpctunnel.NewChannel(tunnelpb.NewTunnelServiceClient(conn), TunnelOptions(noFlowControl)...)
		channel, err := pending.Start(ctx, grpc.WaitForReady(true))
		if err == nil {
			// Start succeeds even when the tunnel has ended during the negotiation.
			err = channel.Err()
		}
		if err != nil {
			_ = conn.Close()
			return nil, nil, fmt.Errorf("opening a forward tunnel: %w", err)
		}
		return Channel{channel}, func() { channel.Close(); _ = conn.Close() }, nil
	default:
		_ = conn.Close()
		return nil, nil, fmt.Errorf("-tunnel %q: must be forward or direct", kind)
	}
}

// OnHeaders makes an interceptor that calls opened when somebody asks a stream for its response
// headers and they are there. Of a call that was refused without headers, grpc-go's stream reports
// neither headers nor an error, and the module takes it for an open tunnel: here the refusal is the
// error.
func OnHeaders(opened func()) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		s, err := open(ctx, desc, conn, method, opts...)
		if err != nil {
			return nil, err
		}
		return onHeaders{s, opened}, nil
	}
}

type onHeaders struct {
	grpc.ClientStream
	opened func()
}

func (s onHeaders) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	if err == nil && md == nil {
		err = s.RecvMsg(&emptypb.Empty{})
	}
	if err == nil {
		s.opened()
	}
	return md, err
}
