# A web app in one file, of what every Debian image holds: the files of DATA, read by GET and written by PUT, and the
# pages that PAGES names; the front page may lead to LEADS_TO. "perl serve.pl check" is its health check.
use strict;
use warnings;
use IO::Socket::INET;

my $port = $ENV{PORT} // 8000;
my $data = $ENV{DATA} // "/data";
my %pages = map { $_ => 1 } split " ", $ENV{PAGES} // "/ /login";
my $leads_to = $ENV{LEADS_TO} // "";

if (@ARGV && $ARGV[0] eq "check") {
    my $own = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 2) or die "nobody listens: $!\n";
    print $own "GET / HTTP/1.0\r\n\r\n";
    exit((<$own> // "") =~ /^HTTP/ ? 0 : 1);
}

$SIG{TERM} = sub { exit 0 };
$SIG{CHLD} = "IGNORE";
my $listen = IO::Socket::INET->new(LocalAddr => "0.0.0.0:$port", Listen => 64, ReuseAddr => 1) or die "port $port: $!\n";
print STDERR "serving on port $port\n";
while (1) {
    my $client = $listen->accept or next;
    next if fork;
    answer($client);
    exit 0;
}

sub answer {
    my ($client) = @_;
    alarm 10;
    my ($method, $path) = (<$client> // "") =~ m{^(\w+) (/\S*) HTTP} or return;
    my $length = 0;
    while (defined(my $line = <$client>)) {
        last if $line =~ /^\r?\n$/;
        $length = $1 if $line =~ /^content-length: *(\d+)/i;
    }
    read $client, my $body, $length;
    my ($name) = $path =~ m{([\w.-]+)$};
    my $file = "$data/" . ($name // "");
    if ($method eq "PUT" && defined $name) {
        open my $out, ">", $file or return say_back($client, 500, "$file: $!");
        print $out $body;
        close $out;
        return say_back($client, 201, "written");
    }
    return say_back($client, 200, "the page $path\n") if $pages{$path};
    return say_back($client, 302, "", "Location: $leads_to\r\n") if $path eq "/" && $leads_to;
    return say_back($client, 404, "there is no $path\n") unless defined $name && -f $file;
    open my $in, "<", $file or return say_back($client, 500, "$file: $!");
    local $/;
    return say_back($client, 200, scalar <$in>);
}

sub say_back {
    my ($client, $status, $text, $more) = (@_, "");
    my $size = length $text;
    print $client "HTTP/1.1 $status X\r\nServer: zoo\r\n${more}Content-Length: $size\r\nConnection: close\r\n\r\n$text";
}
