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
		// The reverse tunnel server has no callback for this.
		opened := func() { fmt.Println("tunnel open") }
		conn, err := peer.Dial(*gateway, grpc.WithStreamInterceptor(peer.OnHeaders(opened)))
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
