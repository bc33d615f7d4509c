// Revclient listens for reverse tunnels and, once there is one, calls the interop test service
// through it.
package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/jhump/grpctunnel"
	"github.com/jhump/grpctunnel/tunnelpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"interop.example/peers/internal/calls"
	"interop.example/peers/internal/cases"
	"interop.example/peers/internal/peer"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:0", "the address to listen on")
	name := flag.String("name", "", "call only through a tunnel that was opened with this x-tunnel-name")
	noFlowControl := flag.Bool("no-flow-control", false, "accept revision zero only")
	echo := flag.Bool("echo", false, "the service at the other end echoes payloads on request")
	details := flag.Bool("details", false, "the service at the other end gives status details on request")
	ascii := flag.Bool("ascii", false, "send no -bin value beyond ASCII")
	list := flag.String("cases", "", "play official cases in place of everything else: their names with commas between, or all")
	mixed := flag.Int("mixed", 0, "make this many concurrent calls of mixed kinds too")
	peer.Check(func(ctx context.Context) error {
		channel, end, err := accept(ctx, *addr, *name, *noFlowControl)
		if err != nil {
			return err
		}
		defer end()
		if *list != "" {
			return official(ctx, *list, channel)
		}
		service := calls.Service{Client: grpc_testing.NewTestServiceClient(channel), Echo: *echo, Details: *details, ASCII: *ascii}
		if err := service.Large(ctx); err != nil {
			return err
		}
		fmt.Println("ok large")
		interop.DoPingPong(ctx, service.Client)
		fmt.Println("ok ping_pong")
		if err := service.Cancel(ctx, 1, 1000, func() {}); err != nil {
			return err
		}
		fmt.Println("ok cancel")
		if err := service.Fail(ctx, 2); err != nil {
			return err
		}
		fmt.Println("ok details")
		if *mixed == 0 {
			return nil
		}
		if err := service.Mixed(ctx, *mixed); err != nil {
			return err
		}
		fmt.Println("ok mixed")
		return nil
	})
}

func official(ctx context.Context, list string, channel grpc.ClientConnInterface) error {
	if list == "all" {
		list = ""
	}
	chosen, err := cases.Choose(list, false)
	if err != nil {
		return err
	}
	return cases.Play(ctx, chosen, channel)
}

// accept listens, and waits for the first reverse tunnel (of a name). The function that it returns
// ends all tunnels in order.
func accept(ctx context.Context, addr, name string, noFlowControl bool) (grpc.ClientConnInterface, func(), error) {
	tunnels := grpctunnel.NewTunnelServiceHandler(grpctunnel.TunnelServiceHandlerOptions{
		DisableFlowControl: noFlowControl,
		AffinityKey:        nameOf,
	})
	server := grpc.NewServer()
	tunnelpb.RegisterTunnelServiceServer(server, tunnels.Service())
	lis, err := peer.Listen(addr)
	if err != nil {
		return nil, nil, err
	}
	go func() {
		if err := server.Serve(lis); err != nil {
			peer.Fail(err)
		}
	}()
	channel := tunnels.AsChannel()
	if name != "" {
		channel = tunnels.KeyAsChannel(name)
	}
	if err := channel.WaitForReady(ctx); err != nil {
		return nil, nil, fmt.Errorf("waiting for a reverse tunnel: %w", err)
	}
	end := func() {
		for _, tunnel := range tunnels.AllReverseTunnels() {
			tunnel.Close()
		}
		server.GracefulStop()
	}
	return peer.Channel{ClientConnInterface: channel}, end, nil
}

func nameOf(tunnel grpctunnel.TunnelChannel) any {
	if names := metadata.ValueFromIncomingContext(tunnel.Context(), "x-tunnel-name"); len(names) > 0 {
		return names[0]
	}
	return ""
}
