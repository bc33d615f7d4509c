// Bare is an end of a tunnel of the Go module over a bare stream of bytes, which it opens or
// accepts, and on which it calls or serves example.Echo. It is over when the one connection is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"github.com/jhump/grpctunnel"
	"github.com/jhump/grpctunnel/tunnelpb"

	"interop.example/peers/internal/bare"
	"interop.example/peers/internal/peer"
)

func main() {
	role := flag.String("role", "", "call or serve")
	connect := flag.String("connect", "", "the address to connect to")
	listen := flag.String("listen", "127.0.0.1:0", "the address to listen on, without -connect")
	noFlowControl := flag.Bool("no-flow-control", false, "offer and accept revision zero only")
	peer.Check(func(ctx context.Context) error {
		if *role != "call" && *role != "serve" {
			return errors.New("-role call or serve is required")
		}
		if *connect == "" {
			return accept(ctx, *listen, *role, *noFlowControl)
		}
		conn, err := bare.Dial(*connect)
		if err != nil {
			return err
		}
		if *role == "call" {
			return call(ctx, conn, *noFlowControl)
		}
		return serve(ctx, conn, *noFlowControl)
	})
}

// call calls through a forward tunnel that it opens.
func call(ctx context.Context, conn *bare.Conn, noFlowControl bool) error {
	stub := tunnelpb.NewTunnelServiceClient(conn)
	channel, err := grpctunnel.NewChannel(stub, peer.TunnelOptions(noFlowControl)...).Start(ctx)
	if err == nil {
		// Start succeeds even when the tunnel has ended during the negotiation.
		err = channel.Err()
	}
	if err != nil {
		return fmt.Errorf("opening a forward tunnel: %w", err)
	}
	if err := calls(ctx, peer.Channel{ClientConnInterface: channel}); err != nil {
		return err
	}
	channel.Close()
	return conn.Finish()
}

// serve serves on a reverse tunnel that it opens.
func serve(ctx context.Context, conn *bare.Conn, noFlowControl bool) error {
	stub := tunnelpb.NewTunnelServiceClient(conn)
	server := grpctunnel.NewReverseTunnelServer(stub, peer.TunnelOptions(noFlowControl)...)
	server.RegisterService(&echoService, struct{}{})
	if _, err := server.Serve(ctx); err != nil {
		return fmt.Errorf("reverse tunnel: %w", err)
	}
	return conn.Finish()
}

// accept takes one connection: with a forward tunnel to serve on, or a reverse one to call through.
func accept(ctx context.Context, addr, role string, noFlowControl bool) error {
	lis, err := peer.Listen(addr)
	if err != nil {
		return err
	}
	called := make(chan error, 1)
	handler := grpctunnel.NewTunnelServiceHandler(grpctunnel.TunnelServiceHandlerOptions{
		DisableFlowControl: noFlowControl,
		OnReverseTunnelOpen: func(channel grpctunnel.TunnelChannel) {
			go func() {
				called <- calls(ctx, peer.Channel{ClientConnInterface: channel})
				channel.Close()
			}()
		},
	})
	if role == "serve" {
		handler.RegisterService(&echoService, struct{}{})
		return bare.Serve(ctx, lis, bare.Forward, handler.Service())
	}
	ended := bare.Serve(ctx, lis, bare.Reverse, handler.Service())
	select {
	case err := <-called:
		return errors.Join(err, ended)
	default:
		return fmt.Errorf("no call was made: %w", ended)
	}
}
