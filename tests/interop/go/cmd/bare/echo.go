package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Several receive windows.
const bulk = 300_000

var both = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// echoService is example.Echo: Echo sends every message back, Fail fails.
var echoService = grpc.ServiceDesc{
	ServiceName: "example.Echo",
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{
		{StreamName: "Echo", Handler: echo, ServerStreams: true, ClientStreams: true},
		{StreamName: "Fail", Handler: fail, ServerStreams: true, ClientStreams: true},
	},
}

func echo(_ any, stream grpc.ServerStream) error {
	for {
		message := &wrapperspb.BytesValue{}
		if err := stream.RecvMsg(message); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := stream.SendMsg(message); err != nil {
			return err
		}
	}
}

func fail(any, grpc.ServerStream) error {
	return status.Error(codes.FailedPrecondition, "it was to fail")
}

// calls makes a call that is answered at once, one that streams, and one that fails.
func calls(ctx context.Context, channel grpc.ClientConnInterface) error {
	request, reply := wrapperspb.Bytes([]byte("hello")), &wrapperspb.BytesValue{}
	if err := channel.Invoke(ctx, "/example.Echo/Echo", request, reply); err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	if !bytes.Equal(reply.GetValue(), request.GetValue()) {
		return fmt.Errorf("echo: the reply is %q", reply.GetValue())
	}
	if err := large(ctx, channel); err != nil {
		return fmt.Errorf("large: %w", err)
	}
	err := channel.Invoke(ctx, "/example.Echo/Fail", request, reply)
	if st := status.Convert(err); st.Code() != codes.FailedPrecondition || st.Message() != "it was to fail" {
		return fmt.Errorf("fail: %v", err)
	}
	err = channel.Invoke(ctx, "/example.Echo/None", request, reply)
	if status.Code(err) != codes.Unimplemented {
		return fmt.Errorf("a method that is not there: %v", err)
	}
	return nil
}

func large(ctx context.Context, channel grpc.ClientConnInterface) error {
	stream, err := channel.NewStream(ctx, &both, "/example.Echo/Echo")
	if err != nil {
		return err
	}
	value := make([]byte, bulk)
	for i := range value {
		value[i] = byte(i)
	}
	for range 3 {
		if err := stream.SendMsg(wrapperspb.Bytes(value)); err != nil {
			return err
		}
		reply := &wrapperspb.BytesValue{}
		if err := stream.RecvMsg(reply); err != nil {
			return err
		}
		if !bytes.Equal(reply.GetValue(), value) {
			return errors.New("another reply than the request")
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if err := stream.RecvMsg(&wrapperspb.BytesValue{}); !errors.Is(err, io.EOF) {
		return fmt.Errorf("behind the last reply: %v", err)
	}
	return nil
}
