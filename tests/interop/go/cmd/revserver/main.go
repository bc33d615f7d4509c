// Revserver opens a reverse tunnel to a gateway and serves the interop test service on it, until
// the gateway ends the tunnel, its time is over, or SIGTERM.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/jhump/grpctunnel"
	"github.com/jhump/grpctunnel/tunnelpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"interop.example/peers/internal/peer"
	"interop.example/peers/internal/testservice"
)

func main() {
	gateway := flag.String("gateway", "", "the address of the gateway")
	name := flag.String("name", "", "the name to send as x-tunnel-name")
	noFlowControl := flag.Bool("no-flow-control", false, "offer revision zero only")
	peer.Serve(func(ctx context.Context) error {
		if *gateway == "" {
			return errors.New("-gateway is required")
		}
		conn, err := peer.Dial(*gateway, grpc.WithStreamInterceptor(announce))
		if err != nil {
			return err
		}
		server := grpctunnel.NewReverseTunnelServer(tunnelpb.NewTunnelServiceClient(conn), peer.TunnelOptions(*noFlowControl)...)
		grpc_testing.RegisterTestServiceServer(server, testservice.New())
		if *name != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-tunnel-name", *name)
		}
		started, err := server.Serve(ctx, grpc.WaitForReady(true))
		if err != nil {
			return fmt.Errorf("reverse tunnel (opened: %t): %w", started, err)
		}
		return nil
	})
}

// announce says in one line that the gateway has taken the tunnel, for which the reverse tunnel
// server has no callback: it asks for the response headers before it serves.
func announce(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := stream(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return announcing{s}, nil
}

type announcing struct{ grpc.ClientStream }

func (s announcing) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	// Of a call that was refused without headers, grpc-go reports neither headers nor an error.
	if err == nil && md != nil {
		fmt.Println("tunnel open")
	}
	return md, err
}
