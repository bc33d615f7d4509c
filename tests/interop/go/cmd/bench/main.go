// Bench is one end of the benchmark's columns of Go: grpc-go without a tunnel, and the Go module's
// tunnels. The benchmark starts it: caller|callee WAY ROW SECONDS [ADDRESS].
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jhump/grpctunnel"
	"github.com/jhump/grpctunnel/tunnelpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	"google.golang.org/grpc/interop/grpc_testing"

	"interop.example/peers/internal/peer"
)

const warmUp = 150 * time.Millisecond

func main() {
	if err := play(context.Background(), os.Args[1:]); err != nil {
		peer.Fail(err)
	}
}

func play(ctx context.Context, words []string) error {
	if len(words) < 4 {
		return errors.New("expected caller|callee WAY ROW SECONDS [ADDRESS]")
	}
	seconds, err := strconv.ParseFloat(words[3], 64)
	if err != nil {
		return err
	}
	addr := ""
	if len(words) > 4 {
		addr = words[4]
	}
	if words[0] == "callee" {
		return handle(ctx, words[1], addr)
	}
	channel, err := open(ctx, words[1], addr)
	if err != nil {
		return err
	}
	return measure(ctx, grpc_testing.NewTestServiceClient(channel), words[2], time.Duration(seconds*float64(time.Second)))
}

// open makes the channel that calls are made on.
func open(ctx context.Context, way, addr string) (grpc.ClientConnInterface, error) {
	switch way {
	case "direct":
		return peer.Dial(addr)
	case "forward":
		conn, err := peer.Dial(addr)
		if err != nil {
			return nil, err
		}
		return grpctunnel.NewChannel(tunnelpb.NewTunnelServiceClient(conn)).Start(ctx, grpc.WaitForReady(true))
	case "reverse":
		tunnels := grpctunnel.NewTunnelServiceHandler(grpctunnel.TunnelServiceHandlerOptions{})
		if err := serve(func(server *grpc.Server) {
			tunnelpb.RegisterTunnelServiceServer(server, tunnels.Service())
		}, true); err != nil {
			return nil, err
		}
		channel := tunnels.AsChannel()
		return channel, channel.WaitForReady(ctx)
	default:
		return nil, fmt.Errorf("%s: no such way", way)
	}
}

// handle serves until the process is ended.
func handle(ctx context.Context, way, addr string) error {
	switch way {
	case "direct":
		return serve(func(server *grpc.Server) {
			grpc_testing.RegisterTestServiceServer(server, interop.NewTestServer())
		}, false)
	case "forward":
		return serve(func(server *grpc.Server) {
			tunnels := grpctunnel.NewTunnelServiceHandler(grpctunnel.TunnelServiceHandlerOptions{})
			grpc_testing.RegisterTestServiceServer(tunnels, interop.NewTestServer())
			tunnelpb.RegisterTunnelServiceServer(server, tunnels.Service())
		}, false)
	case "reverse":
		conn, err := peer.Dial(addr)
		if err != nil {
			return err
		}
		tunnel := grpctunnel.NewReverseTunnelServer(tunnelpb.NewTunnelServiceClient(conn))
		grpc_testing.RegisterTestServiceServer(tunnel, interop.NewTestServer())
		_, err = tunnel.Serve(ctx, grpc.WaitForReady(true))
		return err
	default:
		return fmt.Errorf("%s: no such way", way)
	}
}

// serve listens and says where; in the background if it is to return.
func serve(register func(*grpc.Server), background bool) error {
	server := grpc.NewServer()
	register(server)
	lis, err := peer.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	if !background {
		return server.Serve(lis)
	}
	go func() {
		if err := server.Serve(lis); err != nil {
			peer.Fail(err)
		}
	}()
	return nil
}
