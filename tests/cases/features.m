function mpc = features
%FEATURES  Nine buses that use every column a power flow reads. Written for gridrl.
%   - bus 1 (reference, angle 10 degrees) has two generators that disagree on Vg, one off
%   - bus 2 is PV; bus 3 is of type 2 but its generator is out of service
%   - bus 4 is PQ with a generator: it holds no voltage
%   - bus 9 is isolated (type 4), and a branch leads there
%   - 1-2 is doubled; 2-5 has a ratio and a shift; 5-6 a ratio below one; 4-7 unequal voltages

mpc.version = '2';
mpc.baseMVA = 50;

mpc.bus = [ %	type	Pd	Qd	Gs	Bs	area	Vm	Va	baseKV	zone	Vmax	Vmin
	10	3	5	2	0	0	1	1.02	10	220	1	1.1	0.9;
	20	2	20	5	0	0	1	1.01	0	220	1	1.1	0.9;
	30	2	15	6	1.5	0	1	1	0	220	1	1.08	0.92;
	40	1	25	8	0	12	1	1	0	220	1	1.1	0.9;
	50	1	18	7	0	0	1	1	0	110	1	1.1	0.9;
	60	1	12	-3	0.5	-4	1	1	0	110	1	1.1	0.9;
	70	1	9	3	0	0	1	1	0	20	1	1.1	0.9;
	80	1	0	0	0	0	1	1	0	220	1	1.1	0.9;
	90	4	3	1	0	2	1	1	0	220	1	1.1	0.9;
];

mpc.gen = [
	10	0	0	100	-100	1.03	100	1	200	0;
	10	10	0	30	-30	1.02	100	1	50	0;
	10	7	1	30	-30	1.05	100	0	50	0;
	20	40	0	50	-50	1.01	100	1	80	0;
	30	30	0	50	-50	1.04	100	0	80	0;
	40	6	2	10	-10	1.03	100	1	20	0;
	90	5	1	10	-10	1.00	100	1	20	0;
];

mpc.branch = [
	10	20	0.01	0.06	0.04	60	0	0	0	0	1	-360	360;
	10	20	0.012	0.07	0.03	0	0	0	0	0	1	-360	360;
	10	30	0.02	0.09	0.05	80	0	0	1	0	1	-30	30;
	30	40	0.015	0.08	0.02	0	0	0	0	0	1	-360	360;
	20	50	0.004	0.10	0.01	70	0	0	1.04	-7.5	1	-360	360;
	50	60	0.03	0.05	0.00	0	0	0	0.97	0	1	-360	360;
	40	70	0.01	0.15	0.00	30	0	0	0	0	1	-360	360;
	40	80	0.02	0.1	0.06	0	0	0	0	0	1	-360	360;
	80	30	0.02	0.1	0.06	0	0	0	0	0	0	-360	360;
	40	90	0.02	0.1	0.06	0	0	0	0	0	1	-360	360;
	60	70	0.5	0	0.00	0	0	0	0.99	-3	1	-360	360;
];

mpc.gencost = [
	2	0	0	2	10	0;
	2	0	0	2	10	0;
	2	0	0	2	10	0;
	2	0	0	2	10	0;
	2	0	0	2	10	0;
	2	0	0	2	10	0;
	2	0	0	2	10	0;
];

mpc.dcline = [
	20	40	1	5	4.9	0	0	1	1	0	10	-5	5	-5	5	0	0;
];

mpc.areas = [1	10];

mpc.bus_name = {
	'North'; 'East'; 'It''s south'; 'West [old]'; 'Town % 1'; 'Mill'; 'Farm'; 'Tap'; 'Isle';
};
