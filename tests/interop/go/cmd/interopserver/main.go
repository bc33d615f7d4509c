// Interopserver serves the interop test service directly and over forward tunnels. It takes no
// reverse tunnels, and serves none of its tunnelled services but this one.
package main

import (
	"context"
	"flag"

	"github.com/jhump/grpctunnel"
	"github.com/jhump/grpctunnel/tunnelpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"

	"interop.example/peers/internal/peer"
	"interop.example/peers/internal/testservice"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "the address to listen on")
	noFlowControl := flag.Bool("no-flow-control", false, "offer revision zero only")
	graceful := flag.Bool("graceful", false, "take no new calls when told to stop, and let those that are open come to their end")
	peer.Serve(func(ctx context.Context) error {
		tunnels := grpctunnel.NewTunnelServiceHandler(grpctunnel.TunnelServiceHandlerOptions{
			NoReverseTunnels:   true,
			DisableFlowControl: *noFlowControl,
		})
		service := testservice.New()
		grpc_testing.RegisterTestServiceServer(tunnels, service)
		server := grpc.NewServer()
		grpc_testing.RegisterTestServiceServer(server, service)
		tunnelpb.RegisterTunnelServiceServer(server, tunnels.Service())
		lis, err := peer.Listen(*addr)
		if err != nil {
			return err
		}
		if !*graceful {
			context.AfterFunc(ctx, server.Stop)
			return server.Serve(lis)
		}
		stopped := make(chan struct{})
		context.AfterFunc(ctx, func() {
			tunnels.InitiateShutdown()
			server.GracefulStop()
			close(stopped)
		})
		if err := server.Serve(lis); err != nil {
			return err
		}
		<-stopped
		return nil
	})
}
