package peer

import (
	"context"
	"fmt"

	"github.com/jhump/grpctunnel"
	"github.com/jhump/grpctunnel/tunnelpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
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
	conn, err := Dial(addr)
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
			// A tunnel that ends during the negotiation is reported by nothing but this.
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

// Channel is a tunnel channel of the Go module with one difference taken away. A grpc-go stream
// whose call has failed lets CloseSend succeed and reports the failure from RecvMsg, on which the
// official interop functions rely; the module reports it from CloseSend when it is quick enough.
// A call that *succeeded* before CloseSend still shows: a server must not let that happen.
type Channel struct{ grpc.ClientConnInterface }

// NewStream begins a streaming call.
func (c Channel) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, err
	}
	return lateFailure{stream}, nil
}

type lateFailure struct{ grpc.ClientStream }

func (s lateFailure) CloseSend() error {
	err := s.ClientStream.CloseSend()
	if _, failed := status.FromError(err); failed {
		return nil
	}
	return err
}
