# Tool: runs build/aigc for the tests of this directory.
#
# Tests run from the repository's root. AIGC_TOOL names another program to test; AIGC_SHARED is where the shared data
# lies (default ../shared).
package Tool;

use strict;
use warnings;
use Exporter 'import';
use File::Temp;
use Test::More;

our @EXPORT = qw(aigc aigc_start shared stories slurp levels);

my $tool = $ENV{AIGC_TOOL} // 'build/aigc';

# A file of the shared data, or undef.
sub shared
{
    my ($path) = @_;
    my $file = ($ENV{AIGC_SHARED} // '../shared') . "/data/$path";
    return -e $file ? $file : undef;
}

# The small trained model; the whole test file is skipped where it is missing.
sub stories
{
    my $model = shared('models/stories260K.gguf');
    plan skip_all => 'no ../shared/data/models/stories260K.gguf here' unless $model;
    return $model;
}

sub slurp
{
    my ($path) = @_;
    open my $in, '<:raw', $path or die "cannot open $path: $!\n";
    local $/;
    return scalar <$in> // '';
}

# Runs `aigc @arguments`; the first argument may be a hash: stdin (bytes), stdout (a path), env.
# Returns bytes of standard output and error, and the exit status (128 + n for signal n).
sub aigc
{
    my %how = ref $_[0] ? %{ shift() } : ();
    my $pid = aigc_start(\%how, @_);
    waitpid $pid, 0;
    my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    my $out = $how{stdout} ? '' : slurp($how{out});    # /dev/full has no end when read
    return wantarray ? ($out, slurp($how{err}), $status) : $out;
}

# Starts it and returns its process id; $how gets the files `out` and `err`.
sub aigc_start
{
    my ($how, @arguments) = @_;
    $how->{dir} = File::Temp->newdir;
    $how->{out} = $how->{stdout} // "$how->{dir}/out";
    $how->{err} = "$how->{dir}/err";
    my $in = '/dev/null';
    if (defined $how->{stdin}) {
        $in = "$how->{dir}/in";
        open my $file, '>:raw', $in or die "cannot write $in: $!\n";
        print $file $how->{stdin};
        close $file;
    }
    my $pid = fork() // die "cannot fork: $!\n";
    if ($pid == 0) {
        delete $ENV{AIGC_MODEL};
        %ENV = (%ENV, %{ $how->{env} // {} });
        open STDIN,  '<', $in          or die "$in: $!\n";
        open STDOUT, '>', $how->{out}  or die "$how->{out}: $!\n";
        open STDERR, '>', $how->{err}  or die "$how->{err}: $!\n";
        exec $tool, @arguments or die "cannot run $tool: $!\n";
    }
    return $pid;
}

# Levels of instructions that this processor has: a forced level is taken only if it does.
sub levels
{
    my (@have, @lack);
    for my $level (qw(generic avx2 avx512)) {
        my ($out) = aigc({ env => { AIGC_CPU => $level } }, '--version');
        if ($out =~ /\($level\)/) {
            push @have, $level;
        } else {
            push @lack, $level;
        }
    }
    return (\@have, \@lack);
}

1;
