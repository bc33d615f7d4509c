// Interopserver serves the interop test service directly and over forward tunnels. It takes no
// reverse tunnels, and serves none of its tunnelled services but this one.
package main

import (
	"context"
	"flag"
	"time"

	"github.com/jhump/grpctunnel"
	"github.com/jhump/grpctunnel/tunnelpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"

	"interop.example/peers/internal/peer"
	"interop.example/peers/internal/testservice"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "the address to listen on")
	noFlowControl := flag.Bool("no-flow-control", false, "offer revision zero only")
	graceful := flag.Bool("graceful", false, "take no new calls when told to stop, and let those that are open come to their end")
	age := flag.Duration("max-age", 0, "end connections that are older, as grpc-go does it; 0 for never")
	streams := flag.Uint("max-streams", 0, "calls at once on a connection; 0 for no limit")
	peer.Serve(func(ctx context.Context) error {
		tunnels := grpctunnel.NewTunnelServiceHandler(grpctunnel.TunnelServiceHandlerOptions{
			NoReverseTunnels:   true,
			DisableFlowControl: *noFlowControl,
		})
		service := testservice.New()
		grpc_testing.RegisterTestServiceServer(tunnels, service)
		var options []grpc.ServerOption
		if *age > 0 {
			options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{
				MaxConnectionAge:      *age,
				MaxConnectionAgeGrace: 5 * time.Second,
			}))
		}
		if *streams > 0 {
			options = append(options, grpc.MaxConcurrentStreams(uint32(*streams)))
		}
		server := grpc.NewServer(options...)
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
