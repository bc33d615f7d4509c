package peer

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// Channel is a tunnel channel of the Go module without three differences from grpc-go, on whose
// behaviour the official interop functions and the checks here rely:
//
//   - When a call has failed, CloseSend of grpc-go succeeds and RecvMsg reports the failure. The
//     module's CloseSend reports it when it is quick enough.
//   - When the caller has cancelled, grpc-go sends nothing more. The module may still half-close,
//     and let the call succeed.
//   - When RecvMsg has reported the end, grpc-go has the trailers. The module may not have them yet.
//
// A call that *succeeded* before CloseSend still fails: a server must not let that happen.
type Channel struct{ grpc.ClientConnInterface }

// NewStream begins a call.
func (c Channel) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, err
	}
	return stream{s, ctx, desc.ServerStreams}, nil
}

// Invoke makes a unary call, in the steps of the module's own Invoke.
func (c Channel) Invoke(ctx context.Context, method string, req, resp any, opts ...grpc.CallOption) error {
	s, err := c.NewStream(ctx, &grpc.StreamDesc{}, method, opts...)
	if err != nil {
		return err
	}
	if err := s.SendMsg(req); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	return s.RecvMsg(resp)
}

type stream struct {
	grpc.ClientStream
	// caller is the context of the caller. The one of the stream also ends with the call.
	caller        context.Context
	serverStreams bool
}

func (s stream) CloseSend() error {
	if s.caller.Err() != nil {
		return nil
	}
	err := s.ClientStream.CloseSend()
	if _, failed := status.FromError(err); failed {
		return nil
	}
	return err
}

func (s stream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	// Without a stream of responses, the module reads the end together with the only one.
	ended := !s.serverStreams || err == io.EOF
	if !ended && err != nil {
		_, ended = status.FromError(err)
	}
	if ended {
		// The last thing that the module does to a call, after it has set the trailers.
		<-s.Context().Done()
	}
	return err
}
